"""The loop of a worker: fetch, prepare, and whatever the group, a broken lane or the clock ask for between two batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from flightworthy.ground.collector import rare_collections
from flightworthy.ground.errors import AdapterError, FlightworthyError, LedgerError
from flightworthy.integration.streams import Sink, Stream
from flightworthy.operation.worker.buffers import Buffers
from flightworthy.operation.worker.lane import Counts, Lane, Setting, warm
from flightworthy.operation.worker.outlet import Outlet
from flightworthy.operation.worker.pipe import Item, Pipe

_log = logging.getLogger("flightworthy.stream")
FETCH = 16_384  # records at once, and as many may wait for each of its lanes
_WAIT, _SOON = 0.05, 0.001  # seconds to wait for a first record; for more of them, while a commit is under way
_BESIDE = 0.01  # seconds to wait while a partition is read from its ledger, whose threads need the interpreter
_WORTH = 400  # records that make a batch worth its own commit while another is under way; fewer travel together
_APART = 0.012  # seconds between two small batches of a partition: however small, one takes two or three milliseconds
_EACH = 0.002  # seconds more for each of a worker's partitions, which share its processor
_TEND = 1.0  # seconds between two looks at all that is not urgent
_AGAIN = (0.2, 1.0)  # seconds until a broken lane is taken up anew: at first, at most
_LET_GO = 20.0  # seconds to let lanes finish what is under way
_BACKLOG = 3000  # records from which on it pays to work on several batches at once
_KEEP = 2.0  # seconds after which a worker that has no room still takes a record, only to be heard of by its group
_STUCK = 120.0  # seconds without a round after which the process is not worth keeping
_FIRST = 2.0  # seconds in which a partition that is being taken up, or waits for its first records, goes before all others
_ANOTHER = 8.0  # seconds in which the group tells a worker that slept whose the partition is now


@dataclass
class Trouble:
    """A lane that waits to be taken up."""

    at: float
    wait: float = _AGAIN[0]
    opening: Future[None] | None = None
    since: float = field(default_factory=time.monotonic)


@dataclass
class Report:
    """What a worker did until it ended."""

    counts: Counts = field(default_factory=Counts)
    takeovers: int = 0
    republished: int = 0


class Worker:
    """Runs in one thread, with those of its pipe, its outlet and its takeovers beside it."""

    def __init__(self, setting: Setting, stream: Stream, decisions: Sink | None = None, dead: Sink | None = None) -> None:
        self.setting, self.stream = setting, stream
        self.lanes: dict[int, Lane] = {}
        self.report, self._joined, self._leaving = Report(), False, 0.0
        self._outlet = Outlet(decisions, dead, Lane.over)
        self._pipe = Pipe(self._outlet)
        self._openers = ThreadPoolExecutor(2, "takeover")
        self._trouble: dict[int, Trouble] = {}
        self._seen = -1, time.monotonic()
        self._turn, self._tended, self._asked = 0, time.monotonic(), 0.0
        self._looks, self._looked = 0, 0.0

    def run(self, stop: Callable[[], bool]) -> Report:
        """Until ``stop`` says so; then every partition is handed over. Raises `DataError`, `AdapterError` where nobody can go on
        without a person: all lanes are left as the ledger has them."""
        warm(self.setting)
        self.stream.join(self._gain, self._lose)
        with rare_collections():
            try:
                while not stop():
                    self._step()
            finally:
                self._leaving = time.monotonic() + _LET_GO
                try:
                    self.stream.close()
                finally:
                    self._pipe.close()
                    self._outlet.close()
                    self._openers.shutdown()
                    self.report.republished = self._outlet.republished
        return self.report

    def _step(self) -> None:
        for one in self.lanes.values():
            # In this order: a batch that failed says so before it is over. Asked the other way round, one could fail in between,
            # and what is taken in would follow on what the ledger does not hold.
            if one.rests and not one.under_way and one.goes:
                one.rested()
        lane, now = self._next(), time.monotonic()
        self._fetch(now, lane is not None)
        if lane is not None and self.lanes.get(lane.number) is lane:  # else the group took it away meanwhile
            self._advance(lane)
        if now - self._tended > _TEND:
            self._tended = now
            self._tend()
        if now - self._looked > _TEND / max(1, len(self.lanes)):
            self._looked = now
            self._look()
        if self._trouble:
            self._take_up(now)

    def _fetch(self, now: float, ready: bool) -> None:
        """Take what came, as far as there is room: what is not taken stays with the client, which fetches no more of it then."""
        room = FETCH * max(1, len(self.lanes))
        events = sum(len(lane.buffers.events) for lane in self.lanes.values())
        outcomes = sum(len(lane.buffers.outcomes) for lane in self.lanes.values())
        waiting = self._waiting()  # for records that come after all that the client has of the other partitions
        wanted = FETCH if events < room or waiting else 1 if now - self._asked > _KEEP else 0
        self._asked = now if wanted else self._asked
        beside = waiting or self._opening()
        rest = 0.0 if ready or beside else self._until_due(now)
        if rest:
            time.sleep(rest)  # what comes meanwhile waits with the client: taken bit by bit, it costs a fifth of a batch
        wait = 0.0 if ready or rest else _BESIDE if beside else _SOON if events or outcomes else _WAIT
        if not wanted:
            time.sleep(wait)
        try:
            fetched = self.stream.fetch(wanted, FETCH if outcomes < room else 0, wait)
        except AdapterError as error:
            if not error.retryable:
                raise
            _log.warning("nothing can be fetched: %s", error)
            time.sleep(_WAIT)
            return
        for more in fetched:
            lane = self.lanes[more.partition]
            lane.take(more)
            if len(lane.buffers.of(more.kind)) > 4 * FETCH and more.kind not in lane.held:  # it waits for the other topic
                lane.held.add(more.kind)
                self.stream.hold(more.kind, lane.number, True)
        for kind, number in self.stream.skipped():
            self.lanes[number].missing.append(kind)

    @property
    def _apart(self) -> float:
        return _APART + _EACH * len(self.lanes)

    def _until_due(self, now: float) -> float:
        """Seconds until one of the lanes that had a batch just now may have another; 0 where one is on its way already, or none
        had."""
        if self._pipe.before_commit:
            return 0.0
        return min((rest for lane in self.lanes.values() if lane.goes and (rest := lane.at + self._apart - now) > 0), default=0.0)

    def _release(self, lane: Lane) -> None:
        for kind in [kind for kind in lane.held if len(lane.buffers.of(kind)) < FETCH]:
            lane.held.discard(kind)
            self.stream.hold(kind, lane.number, False)

    def _next(self) -> Lane | None:
        """The lane whose turn it is, of those that have something. Small batches wait for company while a commit is under way,
        and a moment after the one before: else a loop that has little to do takes all of a processor for it."""
        busy, now = self._pipe.before_commit, time.monotonic()
        ready = [lane for lane in self.lanes.values() if lane.goes and not lane.rests and lane.buffers.known(self._drained(lane))
                 and (len(lane.buffers) >= _WORTH or (not busy and now - lane.at >= self._apart) or lane.suspects.alone)]
        if not ready or self._opening() or self._waiting() or not self._pipe.room(_TEND):
            return None  # a broker that is away fills the pipe: go round
        lane = min(ready, key=lambda one: one.turn)  # whoever had its turn longest ago
        self._turn += 1
        lane.turn = self._turn
        return lane

    def _opening(self) -> bool:
        """Whether a partition is being read from its ledger, and only since a moment. Beside batches of others that would take
        several times as long, and its events are those that wait longest."""
        since = time.monotonic() - _FIRST
        return any(t.opening is not None and not t.opening.done() and t.since > since for t in self._trouble.values())

    def _waiting(self) -> bool:
        """Whether a partition that was taken up a moment ago has no records yet, and there are some."""
        since = time.monotonic() - _FIRST
        return any(lane.goes and lane.at < lane.since > since and not len(lane.buffers.events) and not self._drained(lane)[0]
                   for lane in self.lanes.values())

    def _advance(self, lane: Lane) -> None:
        try:
            made = lane.prepare(self._drained(lane))
        except Exception as error:  # noqa: BLE001 - of one lane; it is taken up anew
            _log.warning("%s: %s", lane.sources[0], error)
            return
        if lane.held:
            self._release(lane)
        if made is not None:
            waiting = sum(len(other.buffers) for other in self.lanes.values())
            self._pipe.put(Item(lane, *made), alone=waiting < _BACKLOG and len(made[0].results) < _BACKLOG)
            if lane.suspects.alone:
                self._settle(lane, time.monotonic() + _LET_GO)

    def _drained(self, lane: Lane) -> tuple[bool, bool]:
        """Of each topic, whether all that the broker is known to have is here."""
        return self.stream.drained(0, lane.number), not lane.sources[1] or self.stream.drained(1, lane.number)

    @staticmethod
    def _settle(lane: Lane, end: float) -> bool:
        """Wait until nothing of a lane is under way, at most until then; whether that came to pass."""
        while lane.under_way and time.monotonic() < end:
            time.sleep(0.0005)
        return not lane.under_way

    def idle(self) -> float:
        """Seconds since anything was done, or was there to be done; to be asked again and again."""
        done = sum(lane.counts.batches + lane.generation for lane in self.lanes.values())
        if done != self._seen[0] or not self.drained():
            self._seen = done, time.monotonic()
        return time.monotonic() - self._seen[1]

    def done(self) -> int:
        """Records that were decided, remembered or refused since partitions were taken up."""
        return sum(c.decisions + c.remembered + c.outcomes + sum(c.quarantined.values()) for c in
                   (lane.counts for lane in self.lanes.values()))

    def drained(self) -> bool:
        """Whether we are in the group, our partitions are taken up, and nothing that the broker is known to have waits."""
        return self._joined and not self._trouble and all(
            lane.running and not len(lane.buffers) and not lane.under_way and all(self._drained(lane))
            for lane in self.lanes.values())

    def lag(self, lane: Lane) -> int:
        """Records of the events' topic that the broker has and the ledger has not yet."""
        return max(0, lane.end - max(0, lane.committed[0]))

    def alive(self) -> bool:
        """Whether the loop goes round: it does while anything can be done, also when ledger or broker are away."""
        return time.monotonic() - self._tended < _STUCK

    def ready(self) -> bool:
        """Whether every partition that is ours is being decided."""
        return self.alive() and not self._trouble and all(lane.running for lane in self.lanes.values())

    # -- the group --------------------------------------------------------------------------------------------------
    def _gain(self, numbers: list[int]) -> None:
        self._joined = True
        sources = [(self.stream.source(0, n), self._told(n)) for n in numbers]
        for number, names in zip(numbers, sources, strict=True):
            self.lanes[number] = Lane(self.setting, number, self.stream.partitions, names)
            self._trouble[number] = Trouble(0.0)
        _log.info("gained %s", numbers)

    def _told(self, number: int) -> str:
        return self.stream.source(1, number) if self.stream.topics > 1 else ""

    def _lose(self, numbers: list[int], gone: bool) -> None:
        """Finish what is under way and let go; what is somebody else's already is only let go."""
        _log.info("lost %s%s", numbers, ", they are another's already" if gone else "")
        end = self._leaving or time.monotonic() + _LET_GO  # for all of them: a broker that is away shall not keep us
        leaving = [(self.lanes.pop(number), self._trouble.pop(number, None)) for number in numbers]
        for lane, trouble in leaving:
            if trouble is not None:
                lane.give_up()
        for lane, trouble in leaving:
            if trouble is not None and trouble.opening is not None:
                trouble.opening.exception()  # what it says is of no account any more
            settled = self._settle(lane, end)
            if lane.running and settled and not gone and lane.failed is None:
                lane.hand_over()
            else:
                lane.drop()
            self.report.counts.add(lane.counts)

    # -- trouble ------------------------------------------------------------------------------------------------------
    def _tend(self) -> None:
        for number, lane in self.lanes.items():
            lane.end = self.stream.end(0, number) or lane.end
            if lane.failed is not None and number not in self._trouble:
                self._broken(number, lane)
        self.stream.note({n: (lane.committed[0], lane.committed[1]) for n, lane in self.lanes.items() if lane.running})

    def _look(self) -> None:
        """At each lane in its turn: did all of them rest at once, their events would wait for each other."""
        self._looks += 1
        if going := [lane for lane in self.lanes.values() if lane.goes]:
            going[self._looks % len(going)].look()

    def _broken(self, number: int, lane: Lane) -> None:
        ours = None if isinstance(lane.failed, FlightworthyError) else lane.failed  # a mistake of ours is said in full
        _log.warning("%s: %s; it is taken up anew from its ledger", lane.sources[0], lane.failed, exc_info=ours)
        lane.running, lane.buffers, lane.held = False, Buffers(), set()
        self.stream.start(number, (None, None), wanted=False)
        self._trouble[number] = Trouble(time.monotonic() + (0.0 if self._ours(lane) else _ANOTHER))

    @staticmethod
    def _ours(lane: Lane) -> bool:
        try:
            return lane.still_ours()
        except LedgerError:  # it is away: so nobody can have taken anything up
            return True

    def _take_up(self, now: float) -> None:
        for number, trouble in list(self._trouble.items()):
            lane = self.lanes[number]
            if trouble.opening is None:
                if now >= trouble.at and not lane.under_way:
                    trouble.opening = self._openers.submit(self._open, lane)
            elif trouble.opening.done():
                self._opened(number, lane, trouble)

    def _open(self, lane: Lane) -> None:
        lane.open()
        self._outlet.again(lane)

    def _started(self, number: int, lane: Lane) -> AdapterError | None:
        try:
            self.stream.start(number, (lane.positions[0], lane.positions[1]))
        except AdapterError as error:
            return error
        return None

    def _opened(self, number: int, lane: Lane, trouble: Trouble) -> None:
        assert trouble.opening is not None  # noqa: S101
        error = trouble.opening.exception() or self._started(number, lane)
        if error is None:
            del self._trouble[number]
            lane.running, lane.since = True, time.monotonic()
            self.report.takeovers += 1
            _log.info("%s taken up in %.1f s: %d entries read since the snapshot, on from offset %s", lane.sources[0],
                      time.monotonic() - trouble.since, lane.engine.recovered, lane.positions[0])
            return
        if not isinstance(error, LedgerError) and not getattr(error, "retryable", False):
            raise error
        _log.warning("%s cannot be taken up: %s; again in %.1f s", lane.sources[0], error, trouble.wait)
        trouble.opening, trouble.at = None, time.monotonic() + trouble.wait
        trouble.wait = min(2 * trouble.wait, _AGAIN[1])
