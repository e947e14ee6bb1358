"""The parts of the demo's verifier, each by itself."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import create_engine, literal, select
from sqlalchemy.orm import Session

from rowstamp.cli.demo.compare import difference, plain
from rowstamp.cli.demo.models import Base, Category
from rowstamp.cli.demo.verify import ORDERS, Gate, Growth, Ledger, version_of

pytestmark = pytest.mark.once


class TestGate:
    async def test_lets_several_in_together_and_one_alone_after_them(self) -> None:
        gate = Gate()
        alone = asyncio.Event()

        async def exclusive() -> None:
            async with gate.exclusive():
                alone.set()

        async with gate.shared():
            async with gate.shared():
                task = asyncio.create_task(exclusive())
                await _settle()
                assert gate.taken
                assert not alone.is_set()
            await _settle()
            assert not alone.is_set()
        await task
        assert alone.is_set()
        assert not gate.taken

    async def test_keeps_newcomers_behind_whoever_waits_to_be_alone(self) -> None:
        gate = Gate()
        order: list[str] = []

        async def enter(name: str, *, alone: bool) -> None:
            async with gate.exclusive() if alone else gate.shared():
                order.append(name)

        async with gate.shared():
            tasks = [asyncio.create_task(enter("alone", alone=True)), asyncio.create_task(enter("late", alone=False))]
            await _settle()
            assert order == []
        await asyncio.gather(*tasks)
        assert order == ["alone", "late"]


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class TestLedger:
    def test_knows_what_had_been_committed_before_a_read_began(self) -> None:
        ledger = Ledger()
        ledger.enter([Growth(version_of(7), to=3)])
        since = ledger.now()
        ledger.enter([Growth(version_of(7), to=4)])
        assert ledger.too_old([(version_of(7), 3)], since) == []
        assert ledger.too_old([(version_of(7), 3)], ledger.now()) == [
            "version of product 7: read 3, 4 had been committed"
        ]
        assert ledger.too_old([(version_of(8), 1)], ledger.now()) == []

    def test_acknowledgements_that_come_out_of_order_take_nothing_back(self) -> None:
        ledger = Ledger()
        ledger.enter([Growth(version_of(7), to=5)])
        ledger.enter([Growth(version_of(7), to=4)])
        assert ledger.too_old([(version_of(7), 4)], ledger.now()) != []

    def test_counts_what_grows_by_steps(self) -> None:
        ledger = Ledger()
        ledger.enter([Growth(ORDERS, to=100)])
        ledger.enter([Growth(ORDERS, by=1)])
        assert ledger.too_old([(ORDERS, 101)], ledger.now()) == []
        assert ledger.too_old([(ORDERS, 100)], ledger.now()) != []


class TestComparison:
    @pytest.mark.parametrize(
        ("cached", "fresh", "where"),
        [
            (1, True, "result"),
            (Decimal("1.0"), 1.0, "result"),
            ([1, 2], [1, 3], "result.1"),
            ([1], [1, 2], "result"),
            ({"a"}, frozenset({"a"}), "result"),
        ],
    )
    def test_differs_by_value_type_and_length(self, cached: object, fresh: object, where: str) -> None:
        assert difference(plain(cached), plain(fresh)).startswith(f"{where}: cached ")

    def test_equal_values_do_not_differ(self) -> None:
        assert difference(plain([(1, "a"), None]), plain([(1, "a"), None])) == ""

    def test_entities_differ_by_columns_and_by_what_is_loaded(self) -> None:
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add(Category(id=1, name="cups"))
            session.flush()
            first = session.get_one(Category, 1)
            before = plain(first)
            first.name = "mugs"
            assert difference(before, plain(first)) == "result.name: cached 'cups' (str), database 'mugs' (str)"
            session.expire(first, ["name"])
            assert "not loaded" in difference(before, plain(first))
        engine.dispose()

    def test_rows_differ_by_names(self) -> None:
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            one = connection.execute(select(literal(1).label("a"))).all()
            other = connection.execute(select(literal(1).label("b"))).all()
        engine.dispose()
        assert difference(plain(one), plain(one)) == ""
        assert difference(plain(one), plain(other)) != ""
