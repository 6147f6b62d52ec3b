"""Events on disk, more of them than memory holds: put down as they come, read back in the order in which they take effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
UNKNOWN = -(2**62)  # known_at of a label whose instant nobody said


class Put(NamedTuple):
    """Events as columns (n). ``times``, ``known`` (instants at which labels became known, `UNKNOWN` where nobody said):
    microseconds UTC; ``labels``: NaN where there is none; ``bodies``: the events themselves."""

    ids: Sequence[str]
    times: Ints
    labels: Floats
    known: Ints
    bodies: Sequence[bytes]


class Told(NamedTuple):
    """Outcomes from a file of their own, as columns (n)."""

    ids: Sequence[str]
    labels: Floats
    known: Ints


class Effect(NamedTuple):
    """What takes effect, in its order, as columns (n). ``kinds``: 0 an event, 1 its outcome; ``origins``: the event's number."""

    kinds: Ints
    origins: Ints
    ids: Sequence[str]
    labels: Floats
    known: Ints
    bodies: Sequence[bytes]


class Archive(Protocol):
    """Every method raises `DataError` where the disk is full or the memory too little for what cannot be put on disk."""

    def put(self, events: Put) -> None:
        """Put down events in the order of their files."""
        ...

    def tell(self, outcomes: Told) -> None:
        """Put down outcomes; the last one for an event counts, and before a label beside the event itself."""
        ...

    def close_in(self, delay: int, no_label: float) -> int:
        """All is here: keep the first event of each id, set when its label becomes known (at the earliest with the event; where
        nobody said: ``delay`` after it), and how many others there were. A label equal to ``no_label`` says nothing new."""
        ...

    def effects(self) -> Iterator[Effect]:
        """Events by their time, outcomes when they become known and before events of the same instant."""
        ...

    def write(self, instants: Mapping[str, Ints], columns: Mapping[str, Sequence[object] | Floats]) -> None:
        """Rows of the table that comes of it: instants (microseconds; `UNKNOWN`: none), then all else."""
        ...

    def finish(self) -> None:
        """Put the table where it belongs, whole."""
        ...

    def close(self) -> None:
        """Remove what was only needed meanwhile."""
        ...
