"""What a run is made of, and what came of it; both travel as JSON between the test and the process that runs them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tests.race.shop import ROWS


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run.

    Attributes:
        name: what the figures call it.
        database: the URL for the blocking driver.
        async_database: the URL for the asynchronous driver.
        store: the URL of the store; ``memory://`` has the workers be threads of one process.
        reads: how many reads each reader makes.
        pace: how many reads are made for each write.
        seed: the seed of everything that is left to chance.
        journal: SQLite's journal mode.
        readers: how many readers.
        writers: how many writers, the first of which is the one that is killed.
        hold_ttl: when holds expire, in seconds.
        kills: how likely a writer's transaction is to end with its death.
        stops: how likely a fill is to be preceded by a stop.
        cancels: how likely a commit of the asynchronous worker is to be cancelled.
        functions: the share of reads that are functions of a session.
        quick: the share of reads that are functions which find their database by themselves.
        dawdle: how likely each step of the protocol is to be delayed.
        pause: how long such a delay may be, in seconds.
        breath: how long writers wait before they look again whether the readers have caught up, in seconds. The witness
            waits ten times that, and threads take turns after a fifth of it.
        near: how much the workers keep of what is in the store, in bytes.
        bound: within how many milliseconds readers take old results for fresh; 0 for strict reads.
        hot: how many rows are written.
        weakening: how the protocol is weakened, by name; ``""``: not at all. Such a run ends with the first stale read.
        patience: how long the run may take, in seconds.
    """

    name: str
    database: str
    async_database: str
    store: str
    reads: int
    pace: float
    seed: int
    journal: str | None = None
    readers: int = 2
    writers: int = 2
    hold_ttl: float = 1.0
    kills: float = 0.02
    stops: float = 0.02
    cancels: float = 0.2
    functions: float = 0.3
    quick: float = 0.2
    dawdle: float = 0.1
    pause: float = 0.002
    breath: float = 0.0005
    near: int = 0
    bound: float = 0.0
    hot: int = ROWS
    weakening: str = ""
    patience: float = 200.0

    @property
    def dialect(self) -> str:
        return self.database.partition(":")[0].partition("+")[0]

    @property
    def namespace(self) -> str:
        """What keeps two races on one server apart: a function that finds its database by itself has no part of it in its key."""
        return f"race {self.seed} {self.async_database}"

    @property
    def workers(self) -> int:
        """Readers, writers, the asynchronous worker, the witness, and whoever looks at the end."""
        return self.readers + self.writers + 3

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(kw_only=True)
class Result:
    """What came of a run.

    Attributes:
        figures: what was counted, by the name of :class:`~tests.race.ledger.Tally`.
        rest: reads compared with the database at rest.
        stale_at_rest: those of them that differed.
        seconds: how long it took.
        found: what was wrong, in words; not all of it if there was much.
    """

    figures: dict[str, int] = field(default_factory=dict[str, int])
    rest: int = 0
    stale_at_rest: int = 0
    seconds: float = 0.0
    found: list[str] = field(default_factory=list[str])

    def __getitem__(self, name: str) -> int:
        return self.figures.get(name, 0)

    def __str__(self) -> str:
        figures = ", ".join(f"{number:,} {name}" for name, number in self.figures.items())
        text = f"{figures}; at rest {self.rest} reads, {self.stale_at_rest} stale; {self.seconds:.1f} s"
        return "\n  ".join((text, *self.found))
