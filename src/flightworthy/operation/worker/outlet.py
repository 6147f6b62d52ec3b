"""What leaves: decisions to their topic, quarantined records to that of dead letters, both after they are durable."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Any, NamedTuple

from flightworthy.governance.ledger import DECISION
from flightworthy.integration.streams import Sink
from flightworthy.operation.worker.lane import Lane
from flightworthy.operation.worker.messages import letter, messages

_log = logging.getLogger("flightworthy.stream")
_CHUNK, _PAGE = 4096, 500
_AHEAD = 8  # items that may wait
_MOST = 16_384  # decisions that may: whoever takes a partition up tells all of them again
_LEAVE = 5.0  # seconds


class Item(NamedTuple):
    """What a lane hands over: decisions that are durable, whether records were quarantined beside them, and the last entry they
    stand for. ``generation``: of the lane, which was taken up anew since when it is another. ``since``: where it is set,
    decisions of the ledger from this entry on as far as ``last`` take the place of ``records``."""

    lane: Lane
    generation: int
    records: list[Any]
    quarantined: bool
    last: int
    since: int = 0

    @property
    def current(self) -> bool:
        """Whether it still counts."""
        return self.generation == self.lane.generation and self.lane.failed is None


class Outlet:
    """A thread that sends what lanes hand it and marks in each how far it is out. Without sinks everything is out at once."""

    def __init__(self, decisions: Sink | None, dead: Sink | None, done: Callable[[Lane], None]) -> None:
        self._decisions, self._dead, self._done = decisions, dead, done
        self._items, self._changed = deque[Item](), threading.Condition()
        self._over = False
        self.republished = 0
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def put(self, lane: Lane, records: list[Any], quarantined: bool, last: int) -> None:
        """What a batch under way came to."""
        self._put(Item(lane, lane.generation, records, quarantined, last))

    def _put(self, item: Item) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.room())
            self._items.append(item)
            self._changed.notify_all()

    def room(self) -> bool:
        """Whether it takes another without making who hands it over wait: not while the broker is away."""
        with self._changed:
            return len(self._items) < _AHEAD and sum(len(item.records) for item in self._items) < _MOST

    def again(self, lane: Lane) -> None:
        """Send what the ledger has and nobody is known to have been told, before all that is put after this."""
        lane.begun()
        self._put(Item(lane, lane.generation, [], True, lane.engine.ledger.last(), lane.published + 1))

    def close(self) -> None:
        """Send what is left, and end; what a broker does not take in time is published by whoever is next."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(_LEAVE)
        if self._thread.is_alive():
            _log.warning("decisions that the broker did not take are published by the next worker")

    def _run(self) -> None:
        while items := self._taken():
            self._send(items)

    def _taken(self) -> list[Item]:
        """All that waits, as soon as something does; nothing when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._over)
            items, self._items = list(self._items), deque()
            self._changed.notify_all()
        return items

    def _send(self, items: list[Item]) -> None:
        dead: dict[Lane, int] = {}
        for item in items:
            if item.current:
                self._send_one(item, dead)
        try:
            for sink in (self._decisions, self._dead):
                if sink is not None:
                    sink.settle()
        except Exception as error:  # noqa: BLE001 - as above; which of them was not taken is not known
            for item in items:
                item.lane.broke(error)
        for item in items:
            lane = item.lane
            if item.current:
                lane.published, lane.dead = max(lane.published, item.last), dead.get(lane, lane.dead)
            self._done(lane)

    def _send_one(self, item: Item, dead: dict[Lane, int]) -> None:
        lane = item.lane
        try:
            if self._decisions is not None:
                for records in self._records_of(item):
                    self._decisions.send(messages(lane.setting.pilot, records), lane.number)
            if item.quarantined and self._dead is not None:
                dead[lane] = self._bury(self._dead, lane, dead.get(lane, lane.dead))
        except Exception as error:  # noqa: BLE001 - the lane is taken up anew, and sends again what the ledger has
            lane.broke(error)

    def _records_of(self, item: Item) -> Iterator[list[Any]]:
        """Decisions to be told, some at a time."""
        if item.records:
            yield item.records
        if not item.since:
            return
        engine = item.lane.engine
        entries = takewhile(lambda entry: entry.seq <= item.last, engine.ledger.scan(item.since, (DECISION,)))
        while item.current and (chunk := list(islice(entries, _CHUNK))):
            self.republished += len(chunk)
            yield engine.line.records.read_all(chunk)

    @staticmethod
    def _bury(sink: Sink, lane: Lane, after: int) -> int:
        """Send the records that were quarantined after one; the number of the last."""
        while held := lane.engine.ledger.quarantine("held", after, _PAGE):
            name, private = lane.setting.pilot.name, lane.engine.vault is not None
            sink.send([letter(q, name, private) for q in held], lane.number)
            after = held[-1].id
        return after
