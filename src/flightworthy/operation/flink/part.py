"""One partition inside a stream processor: records wait in its state, are put in order, and go through the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import EVENT, OUTCOME, Arrivals
from flightworthy.governance.ledger import Entry
from flightworthy.ground.clock import Clock
from flightworthy.integration.contract import Raw
from flightworthy.integration.features.shared import SharedState
from flightworthy.integration.streams import Fetched, Message
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.asked import LoadedModel
from flightworthy.operation.flink.keyed import KeyedLedger, KeyedStore, Tables
from flightworthy.operation.worker.buffers import Buffers, Places, Portion
from flightworthy.operation.worker.early import Early
from flightworthy.operation.worker.messages import letter, messages

DECIDED, DEAD, ENTRY = range(3)  # what leaves
ENTRY_HEADERS = ("partition", "seq", "kind", "key")
ALL = 2**62  # microseconds: whatever waits is complete
_SIZE = 8192


class Out(NamedTuple):
    """Something that leaves, and to which of the topics it goes."""

    what: int
    message: Message


@dataclass(frozen=True)
class Course:
    """What all partitions of a job share. ``sources``: topics of events and of outcomes, the latter empty where outcomes do not
    come; ``history_until`` microseconds: what the broker had before is remembered, not decided; ``entries``: whether all entries
    leave too."""

    pilot: Pilot
    models: dict[str, LoadedModel]
    clock: Clock
    parts: int
    sources: tuple[str, str]
    history_until: int = -(2**62)
    entries: bool = False


class Part:
    """Of one partition. The tables must be its own whenever something is called."""

    def __init__(self, course: Course, number: int, tables: Tables) -> None:
        self._course, self._tables, self.number = course, tables, number
        self._sources = tuple(f"{topic}/{number}" if topic else "" for topic in course.sources)
        self._ledger = KeyedLedger(tables, self._sources[0])
        self.engine = Engine(course.pilot, self._ledger, course.models, clock=course.clock, parts=course.parts,
                             states=lambda line: SharedState(line.plans, KeyedStore(tables), "", "", 0))
        self._early, self._some_early = Early(self.engine), True
        self._buffers, self._next = Buffers(course.history_until), 0
        self._numbers: tuple[deque[int], deque[int]] = deque(), deque()  # of what waits, by kind
        self._take_back()

    def _take_back(self) -> None:
        """What waits in the state of a process that was there before."""
        for number, raw in sorted(self._tables.waiting.items()):
            self._buffer(number, *msgspec.msgpack.decode(raw))
        for kind, buffer in enumerate((self._buffers.events, self._buffers.outcomes)):
            buffer.newest = max(buffer.newest, self._ledger.progress(f"newest {kind}") or buffer.newest)

    def __len__(self) -> int:
        return len(self._buffers)

    def add(self, kind: int, offset: int, stamp: int, raw: Raw) -> None:
        """A record came; ``stamp`` microseconds, by the broker."""
        number = self._next
        self._buffer(number, kind, offset, stamp, raw)
        moved = self._buffers.of(kind).moved[-1]  # its place in the order, whatever else is known when it is read again
        self._tables.waiting.put(number, msgspec.msgpack.encode((kind, offset, moved, raw)))

    def _buffer(self, number: int, kind: int, offset: int, stamp: int, raw: Raw) -> None:
        self._next = number + 1
        self._numbers[kind].append(number)
        self._buffers.add(Fetched(kind, self.number, [raw], [offset], [stamp]))

    def run(self, complete: int) -> Iterator[Out]:
        """Decide what waits, as far as nothing can come before it any more: up to an instant (microseconds) of the broker."""
        while (portion := self._buffers.portion(_SIZE, (True, True), complete)) is not None:
            yield from self._decide(portion)
            for kind in portion.kinds or [EVENT] * len(portion.raws):
                self._tables.waiting.remove(self._numbers[kind].popleft())
        if self._some_early and (early := self._early.look()):
            self._early.take(early)
            yield from self._said()

    def _decide(self, portion: Portion) -> Iterator[Out]:
        engine, clock = self.engine, self._course.clock
        arrivals = Arrivals(portion.raws, clock.now(), portion.kinds, self._sources[0], received_tick=clock.tick(),
                            past=portion.past, places=Places(self._sources, portion.kinds, portion.offsets))
        work = engine.prepare(arrivals)
        engine.score(work)
        engine.finish(work)
        newest = {f"newest {kind}": buffer.newest for kind, buffer in
                  enumerate((self._buffers.events, self._buffers.outcomes)) if buffer.newest > -ALL}
        engine.commit(work, newest)
        self._some_early |= any(held.kind == OUTCOME for held in work.quarantined)
        if not arrivals.past:
            yield from (Out(DECIDED, message) for message in messages(self._course.pilot, work.records))
        yield from self._said()

    def _said(self) -> Iterator[Out]:
        entries, held = self._ledger.told()
        name = self._course.pilot.name
        yield from (Out(DEAD, letter(one, name, False)) for one in held)
        if self._course.entries:
            yield from (Out(ENTRY, entry_message(self.number, entry)) for entry in entries)


def entry_message(number: int, entry: Entry) -> Message:
    """An entry as it would lie in a ledger: its canonical content, and in the headers what it is."""
    said: Sequence[object] = (number, entry.seq, entry.kind, entry.key)
    return Message(entry.key.encode(), entry.content, tuple(zip(ENTRY_HEADERS, (str(v).encode() for v in said), strict=True)))
