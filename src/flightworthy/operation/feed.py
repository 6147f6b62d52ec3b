"""Events and outcomes of files, merged in the order in which they would have arrived."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.work import EVENT, OUTCOME
from flightworthy.ground.clock import iso, micros
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import Row
from flightworthy.manifest.check import instant
from flightworthy.manifest.pilot import Pilot

_LOOK_AHEAD, _CHUNK = 8, 1024
UNREADABLE = -(2**62)
Ints = NDArray[np.int64]


class Item(NamedTuple):
    """One arrival: an event or an outcome."""

    kind: int
    raw: Raw


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

    def times(self, raws: Sequence[Raw]) -> Ints:
        """Event times (n) in microseconds, `UNREADABLE` where there is none."""
        return np.array([UNREADABLE if (t := self.event(raw)[0]) is None else t for raw in raws], np.int64)

    def _moment(self, value: Any) -> int | None:
        if isinstance(value, datetime):
            return micros(value)
        if self._spec.unit is not None and isinstance(value, int | float):
            return self._start + int(value) * self._spec.unit
        try:
            return micros(datetime.fromisoformat(value))
        except (TypeError, ValueError):
            return None


def merged(pilot: Pilot, rows: Iterable[Row], outcomes: Iterable[Raw] = (), until: int | None = None) -> Iterator[Item]:
    """Events in file order; before each, the outcomes known by its event time.

    Outcomes come from ``outcomes`` (records with ``known_at``, in any order) and from labels in the rows themselves,
    known at their ``known_at`` or after the manifest's delay. A label that equals what absence means is not sent: it is
    never reported in life either. After the last event, outcomes known by ``until`` follow. A single event time that
    lies ahead of all of the next few does not move time.
    """
    peek, spec = Peek(pilot), pilot.manifest.outcomes
    absent = None if spec.absent is None else float(spec.absent)
    truth: Callable[[float], Any] = bool if spec.type == "boolean" else float
    waiting: list[tuple[int, int, Raw]] = []
    for raw in outcomes:
        waiting.append((_known_at(raw), len(waiting), raw))
    heapq.heapify(waiting)
    order = len(waiting)
    for row, time, now in _timed(rows, peek):
        while waiting and waiting[0][0] <= now:
            yield Item(OUTCOME, heapq.heappop(waiting)[2])
        yield Item(EVENT, row.raw)
        if row.label is not None and row.label != absent and time != UNREADABLE:
            due = row.known_at if row.known_at is not None else time + spec.delay
            record = {pilot.manifest.events.id: peek.event(row.raw)[1], spec.label: truth(row.label), "known_at": iso(due)}
            heapq.heappush(waiting, (due, order, msgspec.json.encode(record)))
            order += 1
    while waiting and until is not None and waiting[0][0] <= until:
        yield Item(OUTCOME, heapq.heappop(waiting)[2])


def _timed(rows: Iterable[Row], peek: Peek) -> Iterator[tuple[Row, int, int]]:
    """Rows with their event time, and how far time had moved: never past all of the next few events."""
    source, now = iter(rows), UNREADABLE
    chunk = list(islice(source, _CHUNK))
    while chunk:
        following = list(islice(source, _CHUNK))
        times = peek.times([row.raw for row in chunk])
        known = np.r_[times, peek.times([row.raw for row in following[:_LOOK_AHEAD]])]
        known = np.where(known == UNREADABLE, np.iinfo(np.int64).max, known)
        padded = np.r_[known, np.full(_LOOK_AHEAD, np.iinfo(np.int64).max)]
        least = np.lib.stride_tricks.sliding_window_view(padded, _LOOK_AHEAD + 1).min(axis=1)[: len(chunk)]
        least[least == np.iinfo(np.int64).max] = UNREADABLE
        moved = np.maximum.accumulate(np.r_[now, least])[1:]
        now = int(moved[-1])
        yield from zip(chunk, times.tolist(), moved.tolist(), strict=True)
        chunk = following


def _known_at(raw: Raw) -> int:
    try:
        value = msgspec.json.decode(raw)["known_at"] if isinstance(raw, bytes) else raw["known_at"]
        return micros(value if isinstance(value, datetime) else datetime.fromisoformat(value))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return UNREADABLE  # let admission judge it at once
