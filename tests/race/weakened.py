"""The protocol made wrong on purpose, in a process of its own, so that the adversary can show that it would notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from rowstamp import core
from rowstamp.core import Core
from rowstamp.model import fresh_token
from rowstamp.protocol import Commit, Committed, Flow, Hit, Miss, Touch, lookup
from rowstamp.protocol_seen import Instead
from rowstamp.testing.scheduler import Flows
from tests.model.weakened import BumpAfterCommit, BumpBeforeAndAfterCommit, ReleaseBeforeCommit
from tests.race.traps import TrappedStore


def _commits_like(flows: Flows) -> Callable[[], None]:
    def commit(stamps: Sequence[bytes], *, writer: bytes, **_: Any) -> Flow[Committed]:
        return flows.commit(stamps, writer=writer, mint=fresh_token)

    def weaken() -> None:
        module: Any = core
        module.commit = commit

    return weaken


class _NeverTellsAnybody(Flows):
    """Results end with their time to live."""

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Callable[[], bytes]) -> Flow[Committed]:
        yield Commit()
        yield Touch({})
        return Committed(late=0)


def _captures_after_the_load() -> None:
    fill = Core.fill

    def fill_under_new_tokens(
        self: Core,
        ticket: Any,
        body: bytes,
        *,
        ttl: float,
        load_time: float,
        linger: float = 0.0,
        instead: Instead | None = None,
    ) -> None:
        if isinstance(self.store, TrappedStore):
            self.store.loaded()
        flow: Flow[Hit | Miss] = lookup(ticket.entry, list(ticket.tokens), serve=False)
        found = self._run(flow)
        if isinstance(found, Miss) and found.ticket is not None:
            fill(self, found.ticket, body, ttl=ttl, load_time=load_time, linger=linger, instead=instead)

    Core.fill = fill_under_new_tokens  # type: ignore[method-assign]


WEAKENINGS: Final[dict[str, Callable[[], None]]] = {
    "bump after commit": _commits_like(BumpAfterCommit()),
    "bump before and after commit": _commits_like(BumpBeforeAndAfterCommit()),
    "release before commit": _commits_like(ReleaseBeforeCommit()),
    "time to live only": _commits_like(_NeverTellsAnybody()),
    "stamps read after the load": _captures_after_the_load,
}
