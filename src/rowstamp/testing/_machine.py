"""One step of an exploration: which events a state allows, what each of them makes of it, and what must hold after.

Everything here is a function of the state. Generators cannot be copied, so none is kept: an actor's state lists the
replies that its stage was sent, and to go on a new generator is sent all of them again. Stages are a handful of steps long, and
each outcome is remembered, so this costs less than it sounds.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from rowstamp.protocol import Commit, Hit, Read, SnapshotView, Touch
from rowstamp.testing._events import Event, Kind, Property, Step, Violation
from rowstamp.testing._states import ActorState, Keys, Node, State, fresh_tokens, writer_name, writer_of
from rowstamp.testing.actors import Answer, Config, Flows, Invalidator, Reader, Served, Stage, Writer
from rowstamp.testing.model_database import (
    Change,
    CommitFailed,
    CommitLost,
    Database,
    Isolation,
    ReceiveRows,
    TakeSnapshot,
    Update,
    Versions,
    project,
    versions_of,
)
from rowstamp.testing.model_store import StoreModel, StoreState, entry_key, index_of, stamp_name

__all__ = ["Machine"]


class _Raised(enum.Enum):
    """The reply of an operation that raises."""

    FAILED = "failed"
    LOST = "lost"

    @property
    def error(self) -> Exception:
        """What it raises."""
        return CommitFailed() if self is _Raised.FAILED else CommitLost()


_REPLIES: Final = {
    Answer.DONE: None,
    Answer.FAILED: _Raised.FAILED,
    Answer.LOST: _Raised.LOST,
    Answer.IN_DOUBT: _Raised.LOST,
}


class _Resumed(NamedTuple):
    node: Node
    served: Served | None


class _Mint:
    """Gives a stage the tokens it was given before, then fresh ones."""

    def __init__(self, given: Iterable[bytes], fresh: Iterator[bytes]) -> None:
        self._given = iter(given)
        self._fresh = fresh
        self.tokens: list[bytes] = []

    def __call__(self) -> bytes:
        token = next(self._given, None)
        self.tokens.append(next(self._fresh) if token is None else token)
        return self.tokens[-1]


class Machine:
    """The rules by which one state follows another, for one configuration and one protocol."""

    def __init__(self, config: Config, flows: Flows, store: StoreModel) -> None:
        self.config = config
        self._flows = flows
        self._store = store
        self._keys = Keys(config)
        self._names = config.names
        self._isolation = tuple(a.isolation if isinstance(a, Reader) else None for a in config.actors)
        self._resumed: dict[object, _Resumed] = {}
        self._fresh_needed: dict[object, int] = {}
        self._probed: dict[object, Versions | None] = {}
        self._idle: frozenset[Node] = frozenset()

    # ------------------------------------------------------------------------------------------ the start

    def initial(self) -> State:
        """Return the state in which nobody has done anything."""
        store = StoreState.empty(len(self.config.entries), self.config.stamps)
        nodes: list[Node] = []
        for index in range(len(self.config.actors)):
            actor = ActorState(0, self._task(index, 0, None))
            nodes.append(self._drive(index, actor, fresh_tokens(nodes, store)).node)
        self._idle = frozenset(nodes)
        evictions = -1 if self.config.evictions is None else self.config.evictions
        return State(tuple(nodes), store, Database.empty(self.config.stamps), evictions)

    def _task(self, index: int, task: int, snapshot: Versions | None) -> Stage | None:
        actor = self.config.actors[index]
        match actor:
            case Reader(reads, isolation, begun):
                if begun and task == 0:
                    return Stage("begin", ((0,),))
                number = task - begun
                if number == len(reads):
                    return None
                entry = reads[number]
                return Stage("read", (entry, self.config.entries[entry], _view(isolation, snapshot)))
            case Writer(stamps, transactions, updates):
                stage = "update" if updates else "write"
                return None if task == transactions else Stage(stage, (stamps, writer_name(index, task)))
            case Invalidator(stamps):
                return None if task else Stage("change", (stamps,))

    # ----------------------------------------------------------------------------------------- the events

    def events(self, state: State) -> list[Event]:
        """Return what may happen next."""
        config = self.config
        events: list[Event] = []
        for index, node in enumerate(state.actors):
            if type(node.request) is Commit:
                events.extend(Event(Kind.STEP, index, answer) for answer in Answer if answer in config.answers)
            elif node.request is not None:
                events.append(Event(Kind.STEP, index))
            events.extend(Event(Kind.LATE, index, task=writer_of(name)[1]) for name, _ in node.actor.in_doubt)
            if config.crashes and self._may_crash(index, node):
                events.append(Event(Kind.CRASH, index))
        events.extend(self._expiries(state))
        if state.store.restarts < config.restarts:
            events.append(Event(Kind.RESTART, 0))
        if state.evictions:
            events.extend(self._evictions(state))
        return events

    def _may_crash(self, index: int, node: Node) -> bool:
        if node.request is None or index >= len(self.config.writers):
            return False
        # A hold that ran out *and* a writer that died after its COMMIT: nobody is left who knows. Only a bounded TTL or
        # the database's own log helps there, so it is no fault of the protocol.
        return not (node.actor.lapsed and node.actor.committed)

    def _expiries(self, state: State) -> Iterator[Event]:
        for stamp, cell in enumerate(state.store.cells):
            for holder in cell.holders:
                index, task = writer_of(holder)
                if self.config.lapses or not _under_way(state.actors[index], task):
                    yield Event(Kind.EXPIRE, index, task=task, stamp=stamp)
        for writer in state.store.lost:
            index, task = writer_of(writer)
            if self.config.lapses or not _under_way(state.actors[index], task):
                yield Event(Kind.SETTLE, index, task=task)

    def _evictions(self, state: State) -> Iterator[Event]:
        for entry, blob in enumerate(state.store.entries):
            if blob is not None:
                yield Event(Kind.EVICT_ENTRY, entry)
        for stamp, cell in enumerate(state.store.cells):
            if self._store.evictable(cell):
                yield Event(Kind.EVICT_STAMP, stamp)

    def label(self, state: State, event: Event) -> str:
        """Return what an event is called in schedules."""
        match event.kind:
            case Kind.STEP:
                node = state.actors[event.actor]
                verb = event.answer.value if type(node.request) is Commit else node.verb
                return f"{self._names[event.actor]}:{verb}"
            case Kind.CRASH:
                return f"{self._names[event.actor]}:crash"
            case Kind.LATE:
                return f"{self._transaction(event)}:late"
            case Kind.EXPIRE:
                return f"expire:{self._transaction(event)}:s{event.stamp}"
            case Kind.SETTLE:
                return f"settle:{self._transaction(event)}"
            case Kind.RESTART:
                return "restart"
            case Kind.EVICT_ENTRY:
                return f"evict:e{event.actor}"
            case Kind.EVICT_STAMP:
                return f"evict:s{event.actor}"

    def _transaction(self, event: Event) -> str:
        return f"{self._names[event.actor]}.{event.task}" if event.task else self._names[event.actor]

    # ------------------------------------------------------------------------------------------ the steps

    def step(self, state: State, event: Event) -> Step:
        """Return what an event leads to."""
        match event.kind:
            case Kind.STEP:
                return self._step(state, event)
            case Kind.LATE:
                return Step(self._late(state, event))
            case Kind.CRASH:
                actor = state.actors[event.actor].actor
                dead = ActorState(actor.task, None, crashed=True, in_doubt=actor.in_doubt)
                return Step(state.with_actor(event.actor, self._keys.node(dead, None)))
            case Kind.EXPIRE:
                name = writer_name(event.actor, event.task)
                return Step(self._outlived(state, event, self._store.expire(state.store, event.stamp, name)))
            case Kind.SETTLE:
                name = writer_name(event.actor, event.task)
                return Step(self._outlived(state, event, self._store.settle(state.store, name)))
            case Kind.RESTART:
                return Step(state._replace(store=self._store.restart(state.store)))
            case Kind.EVICT_ENTRY:
                return Step(_evicted(state, self._store.evict_entry(state.store, event.actor)))
            case Kind.EVICT_STAMP:
                return Step(_evicted(state, self._store.evict_stamp(state.store, event.actor)))

    def _outlived(self, state: State, event: Event, store: StoreState) -> State:
        """End a hold's time. A dead or finished writer's transaction ends before its hold does, a live one's need not."""
        node = state.actors[event.actor]
        if _under_way(node, event.task):
            changed = node.actor._replace(lapsed=True)
        else:
            changed = node.actor._replace(in_doubt=_settled(node, writer_name(event.actor, event.task)))
        return state._replace(store=store).with_actor(event.actor, self._keys.node(changed, node.request))

    def _late(self, state: State, event: Event) -> State:
        node = state.actors[event.actor]
        name = writer_name(event.actor, event.task)
        state = state._replace(database=state.database.commit(dict(node.actor.in_doubt)[name]))
        changed = node.actor._replace(in_doubt=_settled(node, name))
        return state.with_actor(event.actor, self._keys.node(changed, node.request))

    def _step(self, state: State, event: Event) -> Step:
        node = state.actors[event.actor]
        match node.request:
            case Commit():
                return self._commit(state, event)
            case TakeSnapshot(rows):
                return self._snapshot(state, event.actor, rows)
            case Change(rows):
                return self._resume(state._replace(database=state.database.change(rows)), event.actor, None)
            case Update() | ReceiveRows():
                return self._resume(state, event.actor, None)
            case _:
                return self._operate(state, event.actor)

    def _commit(self, state: State, event: Event) -> Step:
        writer = self.config.actors[event.actor]
        assert isinstance(writer, Writer)
        if event.answer in {Answer.DONE, Answer.LOST}:
            state = state._replace(database=state.database.commit(writer.stamps))
        node = state.actors[event.actor]
        after = node.actor._replace(committed=event.answer is not Answer.FAILED)
        if event.answer is Answer.IN_DOUBT:
            name = writer_name(event.actor, after.task)
            after = after._replace(in_doubt=(*after.in_doubt, (name, writer.stamps)))
        state = state.with_actor(event.actor, self._keys.node(after, node.request))
        return self._resume(state, event.actor, _REPLIES[event.answer])

    def _snapshot(self, state: State, index: int, rows: tuple[int, ...]) -> Step:
        if self._isolation[index] is not Isolation.REPEATABLE_READ:
            return self._resume(state, index, project(state.database.committed, rows))
        actor = state.actors[index].actor
        snapshot = state.database.committed if actor.snapshot is None else actor.snapshot
        # What the cache has served before must have been of the moment at which the transaction now arrives.
        torn = [row for row, version in actor.served if snapshot[row] != version]
        step = self._resume(state, index, project(snapshot, rows), snapshot=snapshot)
        if not torn:
            return step
        text = f"{self._names[index]} was served rows {torn} in other versions than its snapshot has, {snapshot}"
        return step._replace(violations=(*step.violations, Violation(Property.ONE_MOMENT, text)))

    def _operate(self, state: State, index: int) -> Step:
        node = state.actors[index]
        request, actor = node.request, node.actor
        floor = actor.floor
        if type(request) is Read and not actor.partials:
            floor = state.database.required
        partials = list(actor.partials)
        store, database = state.store, state.database
        total = self._store.parts(request)
        for part in range(len(partials), total if self.config.atomic else len(partials) + 1):
            store, partial = self._store.perform(store, request, part)
            partials.append(partial)
            if isinstance(request, Touch):
                database = database.acknowledge((index_of(tuple(request.tokens)[part]),))
        state = State(state.actors, store, database, state.evictions)
        if len(partials) < total:
            changed = actor._replace(partials=tuple(partials), floor=floor)
            return Step(state.with_actor(index, self._keys.node(changed, request)))
        return self._resume(state, index, self._store.reply(request, partials), floor=floor)

    # ------------------------------------------------------------------------------------- going on with a flow

    def _resume(
        self,
        state: State,
        index: int,
        reply: object,
        *,
        floor: Versions | None = None,
        snapshot: Versions | None = None,
    ) -> Step:
        before = state.actors[index]
        call = (before, index, reply, floor, snapshot)
        needed = self._fresh_needed.get(call)
        if needed is None:
            fresh = tuple(islice(fresh_tokens(state.actors, state.store), 16))
        else:
            fresh = tuple(islice(fresh_tokens(state.actors, state.store), needed)) if needed else ()
        resumed = None if needed is None else self._resumed.get((call, fresh))
        if resumed is None:
            supply = iter(fresh)
            actor = before.actor
            actor = actor._replace(
                replies=(*actor.replies, reply), partials=(), floor=floor, snapshot=snapshot or actor.snapshot
            )
            resumed = self._drive(index, actor, supply)
            needed = len(fresh) - len(tuple(supply))
            self._fresh_needed[call] = needed
            self._resumed[call, fresh[:needed]] = resumed
        state = state.with_actor(index, resumed.node)
        if resumed.served is None:
            return Step(state)
        return self._served(state, index, before.actor, resumed.served, floor)

    def _drive(self, index: int, actor: ActorState, fresh: Iterator[bytes]) -> _Resumed:
        """Go on to the actor's next operation, through the ends of stages and tasks."""
        served: Served | None = None
        while actor.stage is not None:
            mint = _Mint(actor.given, fresh)
            request, outcome = self._replay(actor, mint)
            if request is not None:
                return _Resumed(self._keys.node(actor._replace(given=tuple(mint.tokens)), request), served)
            if isinstance(outcome, Stage):
                actor = actor._replace(stage=outcome)
            else:
                if isinstance(outcome, Served):
                    served = outcome
                    actor = self._remember(index, actor, outcome)
                stage = self._task(index, actor.task + 1, actor.snapshot)
                actor = actor._replace(task=actor.task + 1, stage=stage, lapsed=False, committed=False)
            actor = actor._replace(replies=(), given=(), floor=None)
        finished = ActorState(actor.task, None, in_doubt=actor.in_doubt)
        return _Resumed(self._keys.node(finished, None), served)

    def _replay(self, actor: ActorState, mint: _Mint) -> tuple[object, Stage | Served | None]:
        """Send a new generator what the old ones were sent; return its next operation or its outcome."""
        assert actor.stage is not None
        script = getattr(self._flows, actor.stage.name)(mint, *actor.stage.arguments)
        try:
            request = next(script)
            for reply in actor.replies:
                request = script.throw(reply.error) if isinstance(reply, _Raised) else script.send(reply)
        except StopIteration as stop:
            return None, stop.value
        except (CommitFailed, CommitLost):
            return None, None
        script.close()
        return request, None

    def _remember(self, index: int, actor: ActorState, served: Served) -> ActorState:
        if self._isolation[index] is not Isolation.REPEATABLE_READ or actor.snapshot is not None:
            return actor
        rows = self.config.entries[self._entry_read(index, actor)]
        return actor._replace(served=tuple(sorted({*actor.served, *zip(rows, served.rows, strict=True)})))

    def _entry_read(self, index: int, actor: ActorState) -> int:
        reader = self.config.actors[index]
        assert isinstance(reader, Reader)
        return reader.reads[actor.task - reader.begun]

    # ------------------------------------------------------------------------------------- what must hold

    def _served(self, state: State, index: int, reader: ActorState, served: Served, floor: Versions | None) -> Step:
        entry = self._entry_read(index, reader)
        rows = self.config.entries[entry]
        hit, name = served.rows, self._names[index]
        violations: list[Violation] = []
        if floor is not None and not _exposed(state) and not _within(project(floor, rows), hit, state, rows):
            text = f"{name} was served {hit}, but {project(floor, rows)} was committed when its read began"
            violations.append(Violation(Property.FRESH, text))
        if reader.snapshot is not None and project(reader.snapshot, rows) != hit:
            text = f"{name} was served {hit}, but its snapshot is of {project(reader.snapshot, rows)}"
            violations.append(Violation(Property.ONE_MOMENT, text))
        return Step(state, (entry, hit), tuple(violations))

    def at_rest(self, state: State) -> bool:
        """Whether nobody is under way, all holds have ended, and no COMMIT is in doubt."""
        if state.store.lost or any(cell.holders for cell in state.store.cells):
            return False
        return all(node in self._idle or (node.request is None and not node.actor.in_doubt) for node in state.actors)

    def probe(self, state: State) -> Iterator[Violation]:
        """Yield what a read that begins now would be served against the rules, for each entry."""
        if _exposed(state):
            return
        resting: bool | None = None
        for entry, rows in enumerate(self.config.entries):
            hit = self._lookup(state, entry, rows)
            if hit is None or _within(project(state.database.required, rows), hit, state, rows):
                continue
            text = f"a read of e{entry} that begins now is served {hit}, but {state.database.required} is committed"
            yield Violation(Property.FRESH, text)
            resting = self.at_rest(state) if resting is None else resting
            if resting:
                yield Violation(Property.AT_REST, f"e{entry} stays {hit}, but {state.database.required} is committed")

    def _lookup(self, state: State, entry: int, rows: tuple[int, ...]) -> Versions | None:
        read = Read(entry_key(entry), tuple(map(stamp_name, rows)))
        _, reply = self._store.run(state.store, read)
        call = (entry, reply)
        if call not in self._probed:
            self._probed[call] = self._probe_once(entry_key(entry), read.stamps, reply)
        return self._probed[call]

    def _probe_once(self, entry: bytes, stamps: Sequence[bytes], reply: object) -> Versions | None:
        flow = self._flows.lookup(entry, stamps, serve=True, mint=lambda: bytes(16))
        next(flow)
        try:
            flow.send(reply)
        except StopIteration as stop:
            return versions_of(stop.value.body) if isinstance(stop.value, Hit) else None
        flow.close()
        return None

    def key(self, state: State) -> tuple[object, ...]:
        """Return the same key for states with the same future."""
        return self._keys.key(state)


def _evicted(state: State, store: StoreState) -> State:
    # A negative number never gets to zero: it stands for any number of evictions.
    return state._replace(store=store, evictions=state.evictions - (state.evictions > 0))


def _view(isolation: Isolation, snapshot: Versions | None) -> SnapshotView:
    if isolation is Isolation.READ_COMMITTED:
        return SnapshotView.PER_STATEMENT
    return SnapshotView.AHEAD if snapshot is None else SnapshotView.TAKEN


def _under_way(node: Node, task: int) -> bool:
    """Whether a writer lives and is at this transaction."""
    return node.request is not None and node.actor.task == task


def _settled(node: Node, name: bytes) -> tuple[tuple[bytes, tuple[int, ...]], ...]:
    """The transactions in doubt without this one."""
    return tuple(doubt for doubt in node.actor.in_doubt if doubt[0] != name)


def _exposed(state: State) -> bool:
    """Whether some live writer has outlived its hold: until it has released, what it changes may be served stale."""
    return any(node.actor.lapsed and node.request is not None for node in state.actors)


def _within(floor: Versions, hit: Versions, state: State, rows: tuple[int, ...]) -> bool:
    """Whether a hit is no older than the floor, and nothing that was never committed."""
    newest = project(state.database.committed, rows)
    return all(low <= version <= high for low, version, high in zip(floor, hit, newest, strict=True))
