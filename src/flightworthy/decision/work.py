"""What travels along the spine: arrivals in, work in the middle, results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.record import OutcomeRecord
from flightworthy.governance.ledger import Entry, Quarantined
from flightworthy.integration.contract import Raw, Rejection
from flightworthy.integration.outcomes import Outcome

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EVENT, OUTCOME = 0, 1


@dataclass(frozen=True)
class Arrivals:
    """Raw records in order of arrival. ``kinds`` None: all are events; ``arrived`` microseconds UTC; ``position`` is
    where the first of them stands in its ``source``."""

    raws: Sequence[Raw]
    arrived: int
    kinds: Sequence[int] | None = None
    source: str = "call"
    position: int = 0
    received_tick: int = 0


class Pending:
    """An admitted event on its way to the ledger; its record is set when it is decided."""

    __slots__ = ("event", "id", "record", "seq", "time")

    def __init__(self, seq: int, event: Any, time: int, name: str) -> None:
        self.seq, self.event, self.time, self.id, self.record = seq, event, time, name, None


@dataclass
class Work:
    """A batch between two stages. Rows are admitted events and outcomes in order; ``events`` only the former."""

    arrivals: Arrivals
    results: list[Any]  # one for each arrival: Pending, OutcomeRecord or Rejection, resolved by the engine
    pending: list[Pending] = field(default_factory=list)
    outcomes: list[tuple[int, Outcome, Pending]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    kept: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # of all events read, those admitted
    times: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # of all events read, microseconds
    numbers: dict[str, Floats] = field(default_factory=dict)  # of all events read, field by field
    kinds: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    frame: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    arms: list[str] = field(default_factory=list)
    outputs: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    paths: list[list[str]] = field(default_factory=list)
    clocks: list[int] = field(default_factory=lambda: [0, 0, 0])
    entries: list[Entry] = field(default_factory=list)


Result = Any  # a decision record (see record.decision_type), an `OutcomeRecord`, or a `Rejection`

__all__ = ["EVENT", "OUTCOME", "Arrivals", "OutcomeRecord", "Pending", "Rejection", "Result", "Work"]
