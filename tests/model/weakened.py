"""Protocols and stores that are wrong, each in one respect. The checker has to notice every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rowstamp import protocol
from rowstamp.entry import unpack_entry
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.protocol import (
    Commit,
    Committed,
    Flow,
    Hit,
    Hold,
    Mint,
    Miss,
    Read,
    Release,
    SnapshotView,
    Ticket,
    Touch,
)
from rowstamp.testing.actors import Script, Stage
from rowstamp.testing.model_store import Cell, StoreModel, StoreState, entry_key, index_of, tokens_of
from rowstamp.testing.scheduler import Flows
from tests.model.seen import GUARD, SEEN, SeenRows

Minter = Callable[[], bytes]


def tokens_for(stamps: Sequence[bytes], mint: Minter) -> Mapping[bytes, bytes]:
    return {stamp: mint() for stamp in stamps}


# --------------------------------------------------------------------------------------------------- writers


class ReleaseInDoubt(Flows):
    """A COMMIT that raises without saying how it ended is released as if it had taken place, though it still may."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        return protocol.commit(stamps, writer=writer, hold_ttl=60.0, refused=lambda _exc: True, mint=mint)


class BumpAfterCommit(Flows):
    """No hold: the stamps change once the transaction is committed."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        yield Commit()
        yield Touch(tokens_for(stamps, mint))
        return Committed(late=0)


class BumpBeforeCommit(Flows):
    """No hold: the stamps change just before the transaction is committed."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        yield Touch(tokens_for(stamps, mint))
        yield Commit()
        return Committed(late=0)


class BumpBeforeAndAfterCommit(Flows):
    """No hold: the stamps change on both sides of the commit."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        yield Touch(tokens_for(stamps, mint))
        yield Commit()
        yield Touch(tokens_for(stamps, mint))
        return Committed(late=0)


class ReleaseOnlyOnSuccess(Flows):
    """A COMMIT that raises is taken for one that failed: its holds are left to expire."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        yield Hold(stamps, writer, 60.0)
        yield Commit()
        yield Release(tokens_for(stamps, mint), writer)
        return Committed(late=0)


class ReleaseBeforeCommit(Flows):
    """The holds end just before the transaction is committed."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        yield Hold(stamps, writer, 60.0)
        yield Release(tokens_for(stamps, mint), writer)
        yield Commit()
        return Committed(late=0)


class HoldFirstStampOnly(Flows):
    """Of several stamps only the first is held and renewed."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        return super().commit(stamps[:1], writer=writer, mint=mint)


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget an entry. No reply."""

    entry: bytes


class DeleteEntry(Flows):
    """The usual recipe: no stamps; a hit needs nothing but the entry, a writer deletes it after its commit."""

    def lookup(self, entry: bytes, stamps: Sequence[bytes], *, serve: bool, mint: Minter) -> Flow[Hit | Miss]:
        snapshot: StoreSnapshot = yield Read(entry, ())
        if serve and snapshot.entry is not None:
            return Hit(unpack_entry(entry, snapshot.entry))
        return Miss(Ticket(entry, {}))

    def write(self, mint: Minter, rows: tuple[int, ...], writer: bytes) -> Script:
        yield Commit()
        yield Delete(entry_key(0))
        return None


class DeleteEntryTwice(DeleteEntry):
    """The recipe's "double delete": before the commit and after it."""

    def write(self, mint: Minter, rows: tuple[int, ...], writer: bytes) -> Script:
        yield Delete(entry_key(0))
        yield Commit()
        yield Delete(entry_key(0))
        return None


class DeletingStore(StoreModel):
    """A store that can delete entries on request."""

    def perform(self, state: StoreState, operation: object, part: int) -> tuple[StoreState, object]:
        if isinstance(operation, Delete):
            return state.with_entry(index_of(operation.entry), None), None
        return super().perform(state, operation, part)


# --------------------------------------------------------------------------------------------------- readers


class CaptureAfterLoad(Flows):
    """The stamps that go with a result are read when its rows have arrived."""

    def store(
        self, mint: Minter, entry: int, tokens: tuple[tuple[bytes, bytes], ...], versions: tuple[int, ...]
    ) -> Script:
        outcome = yield from self.lookup(entry_key(entry), [name for name, _ in tokens], serve=False, mint=mint)
        if isinstance(outcome, Hit) or outcome.ticket is None:
            return None
        return Stage("put", (entry, tuple(outcome.ticket.tokens.items()), versions))

    def put(
        self, mint: Minter, entry: int, tokens: tuple[tuple[bytes, bytes], ...], versions: tuple[int, ...]
    ) -> Script:
        return (yield from super().store(mint, entry, tokens, versions))


class MissingIsFresh(Flows):
    """An entry counts as valid when none of its stamps contradicts it: a missing one does not."""

    def lookup(self, entry: bytes, stamps: Sequence[bytes], *, serve: bool, mint: Minter) -> Flow[Hit | Miss]:
        flow = super().lookup(entry, stamps, serve=serve, mint=mint)
        snapshot: StoreSnapshot = yield next(flow)
        if serve and snapshot.entry is not None and not any(state.held for state in snapshot.stamps):
            stored = unpack_entry(entry, snapshot.entry)
            states = zip(stamps, snapshot.stamps, strict=True)
            if all(state.token in {None, tokens_of(stored).get(stamp)} for stamp, state in states):
                flow.close()
                return Hit(stored)
        return (yield from resumed(flow, snapshot))


class HeldIsFresh(Flows):
    """A held stamp counts as one that has not changed yet."""

    def lookup(self, entry: bytes, stamps: Sequence[bytes], *, serve: bool, mint: Minter) -> Flow[Hit | Miss]:
        flow = super().lookup(entry, stamps, serve=serve, mint=mint)
        snapshot: StoreSnapshot = yield next(flow)
        if serve and snapshot.entry is not None:
            stored = unpack_entry(entry, snapshot.entry)
            states = zip(stamps, snapshot.stamps, strict=True)
            if all(state.held or state.token == tokens_of(stored).get(stamp) for stamp, state in states):
                flow.close()
                return Hit(stored)
        return (yield from resumed(flow, snapshot))


class AnyStampValidates(Flows):
    """One stamp that has not changed makes the whole entry valid."""

    def lookup(self, entry: bytes, stamps: Sequence[bytes], *, serve: bool, mint: Minter) -> Flow[Hit | Miss]:
        flow = super().lookup(entry, stamps, serve=serve, mint=mint)
        snapshot: StoreSnapshot = yield next(flow)
        if serve and snapshot.entry is not None:
            stored = unpack_entry(entry, snapshot.entry)
            states = zip(stamps, snapshot.stamps, strict=True)
            if any(state.token == tokens_of(stored).get(stamp) for stamp, state in states):
                flow.close()
                return Hit(stored)
        return (yield from resumed(flow, snapshot))


def resumed(flow: Flow[Hit | Miss], reply: object) -> Flow[Hit | Miss]:
    """Go on with a flow whose first operation has been performed."""
    try:
        operation = flow.send(reply)
        while True:
            operation = flow.send((yield operation))
    except StopIteration as stop:
        outcome: Hit | Miss = stop.value
        return outcome
    finally:
        flow.close()


class FillUnderOldSnapshot(Flows):
    """A REPEATABLE READ transaction fills after its snapshot was taken."""

    def may_fill(self, view: SnapshotView) -> bool:
        return True


class ServeAheadOfSnapshot(Flows):
    """A REPEATABLE READ transaction is served as long as it has no snapshot."""

    def may_serve(self, view: SnapshotView) -> bool:
        return view is not SnapshotView.TAKEN


class ServeUnderSnapshot(Flows):
    """A REPEATABLE READ transaction is served after its snapshot was taken."""

    def may_serve(self, view: SnapshotView) -> bool:
        return view is not SnapshotView.AHEAD


# ---------------------------------------------------------------------------------------------------- stores


class OneOwnerPerHold(StoreModel):
    """A hold is one mark: the first writer to finish clears it, whoever else relies on it."""

    def released(self, cell: Cell, writer: bytes, token: bytes) -> Cell:
        return Cell(token)


class HoldsAreEvicted(StoreModel):
    """A stamp may be lost while it is held."""

    def evictable(self, cell: Cell) -> bool:
        return cell != Cell()


class ServesRightAfterARestart(StoreModel):
    """Tokens given after a restart validate at once, though holds may have been lost in it."""

    def doubted(self, state: StampState) -> StampState:
        return state


class FillsRightAfterARestart(StoreModel):
    """Nothing is served right after a restart, but what is filled then is served later: its loads may precede a COMMIT."""

    def doubted(self, state: StampState) -> StampState:
        return state if state.held else StampState(None, held=False)

    def perform(self, state: StoreState, operation: object, part: int) -> tuple[StoreState, object]:
        if isinstance(operation, Mint):
            settled, partial = super().perform(state._replace(lost=()), operation, part)
            return settled._replace(lost=state.lost), partial
        return super().perform(state, operation, part)


class ExpiryRestores(StoreModel):
    """A hold hides the token, and its expiry shows it again."""

    def held(self, cell: Cell, writer: bytes) -> Cell:
        return super().held(cell, writer)._replace(token=cell.token)

    def expired(self, cell: Cell, writer: bytes) -> Cell:
        return super().expired(cell, writer)._replace(token=cell.token)


class MintReplaces(StoreModel):
    """A reader's token replaces the one that another reader has just minted, and even a hold."""

    def minted(self, cell: Cell, token: bytes) -> Cell:
        return Cell(token)


class ReleaseKeepsToken(StoreModel):
    """A release whose hold has expired changes nothing, as if nobody could have filled since."""

    def released(self, cell: Cell, writer: bytes, token: bytes) -> Cell:
        return super().released(cell, writer, token) if writer in cell.holders else cell


# ---------------------------------------------------------------------------------------------- joined rows


class GuardIsNotReadAgain(SeenRows):
    """The stamp of a row seen takes the guard's place, whatever was written to the table during the load."""

    def narrow(self, ticket: Ticket, mint: Minter) -> Flow[Ticket]:
        minted = yield Mint({SEEN: mint()})
        tokens = {stamp: token for stamp, token in ticket.tokens.items() if stamp != GUARD}
        token: bytes | None = minted[0].token
        return ticket if token is None else Ticket(ticket.entry, {**tokens, SEEN: token}, named=(SEEN,))


class GuardIsReadFirst(SeenRows):
    """The guard is looked at before the stamp of the row is captured."""

    def narrow(self, ticket: Ticket, mint: Minter) -> Flow[Ticket]:
        again: StoreSnapshot = yield Read(None, (GUARD,))
        if again.stamps[0].token != ticket.tokens[GUARD]:
            return ticket
        minted = yield Mint({SEEN: mint()})
        tokens = {stamp: token for stamp, token in ticket.tokens.items() if stamp != GUARD}
        token: bytes | None = minted[0].token
        return ticket if token is None else Ticket(ticket.entry, {**tokens, SEEN: token}, named=(SEEN,))


class HeldRowsAreLeftOut(SeenRows):
    """A row whose stamp a writer holds is not depended on."""

    def narrow(self, ticket: Ticket, mint: Minter) -> Flow[Ticket]:
        flow = super().narrow(ticket, mint)
        minted = yield next(flow)
        if minted[0].held:
            flow.close()
            again: StoreSnapshot = yield Read(None, (GUARD,))
            if again.stamps[0].token != ticket.tokens[GUARD]:
                return ticket
            return Ticket(ticket.entry, {stamp: token for stamp, token in ticket.tokens.items() if stamp != GUARD})
        again = yield flow.send(minted)
        try:
            flow.send(again)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        raise AssertionError


class RowsAreTouchedFirst(SeenRows):
    """A direct invalidation touches the rows' stamps before those of their table."""

    def invalidate_in_order(self, tables: tuple[bytes, ...], rows: tuple[bytes, ...], mint: Minter) -> Flow[None]:
        return protocol.invalidate(rows, tables, mint=mint)


class LateCommitsReleaseOnly(SeenRows):
    """A writer that has outlived its holds does not touch its stamps once all of them are released."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        flow = super().commit(stamps, writer=writer, mint=mint)
        reply = None
        operation = next(flow)
        while not isinstance(operation, Touch):
            try:
                reply = yield operation
            except BaseException as exc:  # noqa: BLE001 - handed on
                operation = flow.throw(exc)
                continue
            try:
                operation = flow.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
        flow.close()
        return Committed(late=1)


class DoubtHoldsOnce(SeenRows):
    """A COMMIT in doubt is held once more, and not twice."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        flow = super().commit(stamps, writer=writer, mint=mint)
        operation, again = next(flow), False
        while True:
            try:
                reply = yield operation
            except BaseException as exc:  # noqa: BLE001 - handed on
                operation, again = flow.throw(exc), True
                continue
            if again and isinstance(operation, Hold):
                flow.send(reply)  # the second one, which is left out
                reply = None
            try:
                operation = flow.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
