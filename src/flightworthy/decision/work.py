"""What travels along the spine: arrivals in, work in the middle, results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.record import ActRecord, OutcomeRecord
from flightworthy.governance.ledger import HISTORY, Entries, Quarantined
from flightworthy.governance.privacy.store import Subject
from flightworthy.integration.contract import Raw, Rejection
from flightworthy.integration.outcomes import Outcome

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EVENT, OUTCOME, PAST = 0, 1, 2


class Spilled(NamedTuple):
    """A decision made beside the ledger: why, and when it arrived and was made (microseconds UTC)."""

    why: str
    arrived: int
    decided: int


@dataclass(frozen=True)
class Arrivals:
    """Raw records in order of arrival. ``kinds`` None: all are events; ``arrived`` microseconds UTC; ``position`` is
    where the first of them stands in its ``source``. Events of the ``past`` are remembered, not decided."""

    raws: Sequence[Raw]
    arrived: int
    kinds: Sequence[int] | None = None
    source: str = "call"
    position: int = 0
    received_tick: int = 0
    past: bool = False
    times: Ints | None = None  # of the events, microseconds, where the feed had to read them anyway
    spilled: Sequence[Spilled] | None = None  # one for each raw: these were answered by the default already
    places: Sequence[tuple[str, int]] | None = None  # source and position of each raw, where they have more than one source

    def place(self, index: int) -> tuple[str, int]:
        """Where a raw came from: its source, and its position there."""
        return (self.source, self.position + index) if self.places is None else self.places[index]


class Earlier(NamedTuple):
    """An event admitted before: of the ledger (then with its record), or row ``row`` of a ``work`` still under way."""

    seq: int
    event: Any
    time: int
    record: Any = None
    work: Any = None
    row: int = 0

    @property
    def past(self) -> bool:
        """Whether it was remembered only, not decided."""
        return bool(self.work.arrivals.past if self.record is None else self.record.kind == HISTORY)


class Told(NamedTuple):
    """An admitted outcome: where it stands among the arrivals, its number, and the event it is about."""

    place: int
    seq: int
    truth: Outcome
    about: Earlier


class Repeated(NamedTuple):
    """An outcome that says what one in flight says: ``place`` among the arrivals of ``work``."""

    work: Any
    place: int


@dataclass
class Work:
    """A batch between two stages: admitted events as columns, (n) each, and admitted outcomes."""

    arrivals: Arrivals
    results: list[Any]  # one for each arrival: the row of an admitted event, Earlier, OutcomeRecord or Rejection
    at: Sequence[int] = ()  # where the events stand among the arrivals
    events: list[Any] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)  # id → row
    seqs: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    times: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # microseconds
    numbers: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # (n, fields), see Columns.numbers
    outcomes: list[Told] = field(default_factory=list)
    kinds: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # of events and outcomes together, in order
    quarantined: list[Quarantined] = field(default_factory=list)
    frame: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    arms: list[str] = field(default_factory=list)
    outputs: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    paths: list[list[str]] = field(default_factory=list)
    clocks: list[int] = field(default_factory=lambda: [0, 0, 0])
    tried: tuple[int, int] | None = None  # microseconds of the models, of all others and of the challenger's arm, in a rollout
    records: list[Any] = field(default_factory=list)  # of the events, once they are decided or remembered
    entries: Entries = field(default_factory=Entries)
    acts: list[ActRecord] = field(default_factory=list)  # what is written down with it, after its own entries
    people: list[Subject] = field(default_factory=list)  # who are new
    spent: dict[str, int] = field(default_factory=dict)  # on letting cases through, by day
    consents: list[int] = field(default_factory=list)  # (n) the entry that gave it, 0 without; empty where it is not asked for

    def keep(self, rows: Sequence[int]) -> None:
        """Leave only some of the events."""
        self.at, self.events = [self.at[i] for i in rows], [self.events[i] for i in rows]
        picked = np.array(rows, np.int64)
        self.times, self.numbers = self.times[picked], self.numbers[picked]

    def answers(self) -> list[Any]:
        """A result for each arrival, once the work is durable."""
        records = self.records
        return [records[r] if type(r) is int else r if type(r) not in (Earlier, Repeated) else _meant(r)
                for r in self.results]


def _meant(result: Earlier | Repeated) -> Any:
    if isinstance(result, Repeated):
        return result.work.results[result.place]
    return result.record if result.work is None else result.work.records[result.row]


Result = Any  # a decision record (see record.decision_type), an `OutcomeRecord`, a `HistoryRecord` or a `Rejection`

__all__ = ["EVENT", "OUTCOME", "PAST", "Arrivals", "Earlier", "OutcomeRecord", "Rejection", "Repeated", "Result", "Spilled",
           "Told", "Work"]
