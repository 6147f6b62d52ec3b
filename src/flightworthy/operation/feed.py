"""Events and outcomes of files, merged in the order in which they would have arrived."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.work import EVENT, OUTCOME
from flightworthy.ground.clock import iso, micros, micros_of
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import Records
from flightworthy.manifest.check import instant
from flightworthy.manifest.pilot import Pilot

_LOOK_AHEAD = 8
UNREADABLE = -(2**62)
_NEVER = np.iinfo(np.int64).max
_LATEST = micros(datetime(9999, 12, 31, tzinfo=UTC))  # what can be written down
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Lot:
    """Consecutive arrivals. ``kinds`` None: all are events; ``times`` are those of the events, None where the contract
    must judge them first. Events of the ``past`` are remembered, not decided."""

    raws: list[Raw]
    kinds: list[int] | None = None
    past: bool = False
    times: Ints | None = None


class Waiting(NamedTuple):
    """An outcome that is not known yet; ``after`` is the number of its event's row, -1 when it came separately."""

    due: int
    order: int
    raw: Raw
    after: int = -1


class Peek:
    """Reads what is needed to order records, without judging them."""

    def __init__(self, pilot: Pilot) -> None:
        events = pilot.manifest.events
        self._spec = events.fields[events.time]
        self._start = instant(self._spec.origin) if self._spec.origin else 0
        self._id, self._time = events.id, events.time
        peek = msgspec.defstruct("Peek", [(events.time, Any, None), (events.id, Any, None)])
        self._decoder = msgspec.json.Decoder(peek)

    def event(self, raw: Raw) -> tuple[int | None, Any]:
        """Event time in microseconds and id, None where unreadable."""
        if isinstance(raw, bytes):
            try:
                found = self._decoder.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return None, None
            return self._moment(getattr(found, self._time)), getattr(found, self._id)
        return self._moment(raw.get(self._time)), raw.get(self._id)

    def times(self, raws: Sequence[Raw]) -> tuple[Ints, bool]:
        """Event times (n) in microseconds, `UNREADABLE` where there is none; and whether all were instants already, as in
        tables, so that no reading of text is involved."""
        try:
            return micros_of([raw[self._time] for raw in raws]), True  # type: ignore[call-overload]
        except (TypeError, KeyError):
            pass
        return np.array([UNREADABLE if (t := self.event(raw)[0]) is None else t for raw in raws], np.int64), False

    def _moment(self, value: Any) -> int | None:
        if isinstance(value, datetime):
            return micros(value)
        try:
            if self._spec.unit is None:
                return micros(datetime.fromisoformat(value))
            moment = self._start + int(value) * self._spec.unit  # files of text hold numbers as text
        except (TypeError, ValueError, OverflowError):
            return None
        return moment if abs(moment) < -UNREADABLE else None


def merged(pilot: Pilot, chunks: Iterable[Records], outcomes: Iterable[Raw] = (), until: int | None = None,
           history: Iterable[Records] = ()) -> Iterator[Lot]:
    """Events in file order, those of a history first; before each, the outcomes known by its event time.

    Outcomes come from ``outcomes`` (records with ``known_at``, in any order) and from labels in the rows themselves,
    known at their ``known_at`` or after the manifest's delay. A label that equals what absence means is not sent: it is
    never reported in life either. After the last event, outcomes known by ``until`` follow. A single event time that
    lies ahead of all of the next few does not move time.
    """
    merger = _Merger(pilot, outcomes)
    for records, past, times, exact, moved in _timed(chain(((c, True) for c in history), ((c, False) for c in chunks)),
                                                     merger.peek):
        yield merger.lot(records, past, times, exact, moved)
    left = merger.due(_NEVER if until is None else until) if until is not None else []
    if left:
        yield Lot([w.raw for w in left], [OUTCOME] * len(left))


class _Merger:
    """Holds outcomes until time has moved to when they became known."""

    def __init__(self, pilot: Pilot, outcomes: Iterable[Raw]) -> None:
        self.peek, self._spec, self._id = Peek(pilot), pilot.manifest.outcomes, pilot.manifest.events.id
        self._absent = None if self._spec.absent is None else float(self._spec.absent)
        self._truth: Callable[[float], Any] = bool if self._spec.type == "boolean" else float
        self._waiting = [Waiting(_known_at(raw), order, raw) for order, raw in enumerate(outcomes)]
        heapq.heapify(self._waiting)
        self._order, self._rows = len(self._waiting), 0

    def due(self, now: int) -> list[Waiting]:
        """Outcomes known by now, in order."""
        out = []
        while self._waiting and self._waiting[0].due <= now:
            out.append(heapq.heappop(self._waiting))
        return out

    def lot(self, records: Records, past: bool, times: Ints, exact: bool, moved: Ints) -> Lot:
        """A chunk with the outcomes that become known within it in their places."""
        if records.labels is not None:
            self._take_labels(records, times)
        told = self.due(int(moved[-1]))
        first, self._rows = self._rows, self._rows + len(records.raws)
        if not told:
            return Lot(records.raws, None, past, times if exact else None)
        # Before the first event of its time or later; never before the event it is about.
        places = np.maximum(np.searchsorted(moved, [w.due for w in told]), [w.after + 1 - first for w in told])
        raws: list[Raw] = []
        kinds: list[int] = []
        done = 0
        for i in np.argsort(places, kind="stable").tolist():
            at = int(places[i])
            raws += records.raws[done:at]
            kinds += [EVENT] * (at - done)
            raws.append(told[i].raw)
            kinds.append(OUTCOME)
            done = at
        raws += records.raws[done:]
        return Lot(raws, kinds + [EVENT] * (len(records.raws) - done), past, times if exact else None)

    def _take_labels(self, records: Records, times: Ints) -> None:
        labels, known = records.labels or [], records.known_at or [None] * len(records.raws)
        for i in [i for i, label in enumerate(labels) if label is not None and label != self._absent]:
            time, label, due = int(times[i]), labels[i], known[i]
            if time == UNREADABLE or label is None or not math.isfinite(label):
                continue
            due = min(time + self._spec.delay if due is None else due, _LATEST)
            record = {self._id: self.peek.event(records.raws[i])[1], self._spec.label: self._truth(label), "known_at": iso(due)}
            heapq.heappush(self._waiting, Waiting(due, self._order, record, self._rows + i))
            self._order += 1


def _timed(chunks: Iterable[tuple[Records, bool]], peek: Peek) -> Iterator[tuple[Records, bool, Ints, bool, Ints]]:
    """Chunks with their event times, whether those are exact, and how far time had moved at each event: never past all
    of the next few."""
    now = UNREADABLE
    source = ((records, past, *peek.times(records.raws)) for records, past in chunks if records.raws)
    current = next(source, None)
    while current is not None:
        following = next(source, None)
        records, past, times, exact = current
        ahead = np.full(_LOOK_AHEAD, _NEVER) if following is None else following[2][:_LOOK_AHEAD]
        padded = np.r_[times, ahead, np.full(_LOOK_AHEAD - len(ahead), _NEVER)]
        padded[padded == UNREADABLE] = _NEVER
        least = np.lib.stride_tricks.sliding_window_view(padded, _LOOK_AHEAD + 1).min(axis=1)[: len(times)]
        moved = np.maximum.accumulate(np.r_[now, np.where(least == _NEVER, UNREADABLE, least)])[1:]
        now = int(moved[-1])
        yield records, past, times, exact, moved
        current = following


def _known_at(raw: Raw) -> int:
    try:
        value = msgspec.json.decode(raw)["known_at"] if isinstance(raw, bytes) else raw["known_at"]
        return micros(value if isinstance(value, datetime) else datetime.fromisoformat(value))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return UNREADABLE  # let admission judge it at once
