"""Events and outcomes of files, merged in the order in which they would have arrived."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from flightworthy.decision.work import EVENT, OUTCOME
from flightworthy.ground.clock import iso, micros
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import Row
from flightworthy.manifest.check import instant
from flightworthy.manifest.pilot import Pilot


_LOOK_AHEAD = 8


@dataclass(frozen=True)
class Item:
    """One arrival. ``due`` is its place in time (microseconds)."""

    kind: int
    raw: Raw
    due: int


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
    order, now = len(waiting), -(2**62)
    for row, time, event_id, floor in _ahead(rows, peek):
        now = max(now, floor)
        while waiting and waiting[0][0] <= now:
            due, _, raw = heapq.heappop(waiting)
            yield Item(OUTCOME, raw, due)
        yield Item(EVENT, row.raw, now)
        if row.label is not None and row.label != absent and time is not None:
            due = row.known_at if row.known_at is not None else time + spec.delay
            record = {pilot.manifest.events.id: event_id, spec.label: truth(row.label), "known_at": iso(due)}
            heapq.heappush(waiting, (due, order, msgspec.json.encode(record)))
            order += 1
    while waiting and until is not None and waiting[0][0] <= until:
        due, _, raw = heapq.heappop(waiting)
        yield Item(OUTCOME, raw, due)


def _ahead(rows: Iterable[Row], peek: Peek) -> Iterator[tuple[Row, int | None, Any, int]]:
    """Rows with their time, id, and the least time among them and the next few."""
    window: deque[tuple[Row, int | None, Any]] = deque()
    source = iter(rows)
    while True:
        while len(window) <= _LOOK_AHEAD and (row := next(source, None)) is not None:
            window.append((row, *peek.event(row.raw)))
        if not window:
            return
        known = [time for _, time, _ in window if time is not None]
        yield (*window.popleft(), min(known, default=-(2**62)))


def _known_at(raw: Raw) -> int:
    try:
        value = msgspec.json.decode(raw)["known_at"] if isinstance(raw, bytes) else raw["known_at"]
        return micros(value if isinstance(value, datetime) else datetime.fromisoformat(value))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return -(2**62)  # let admission judge it at once
