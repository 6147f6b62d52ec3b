"""Batches of all lanes in three threads: while one is prepared, the one before is asked of the models, and the one before that is
made durable. A batch of a lane that failed passes through untouched."""

from __future__ import annotations

import queue
import threading
from typing import NamedTuple

from flightworthy.decision.work import Work
from flightworthy.operation.worker.lane import Lane, last_of
from flightworthy.operation.worker.outlet import Outlet

_AHEAD = 2


class Item(NamedTuple):
    """A batch on its way."""

    lane: Lane
    work: Work
    progress: dict[str, int]


class Pipe:
    """Two threads behind the caller's own."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._to_score: queue.Queue[Item | None] = queue.Queue()
        self._room = threading.Semaphore(_AHEAD)  # of those that wait to be scored
        self._to_commit: queue.Queue[Item | None] = queue.Queue(_AHEAD)
        self.before_commit = 0  # batches that did not reach their commit yet
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=run, name=run.__name__, daemon=True) for run in (self._score, self._commit)]
        for thread in self._threads:
            thread.start()

    def room(self, wait: float) -> bool:
        """Whether `put` would take a batch without waiting, now or within so many seconds."""
        free = self._room.acquire(timeout=wait)
        if free:
            self._room.release()
        return free

    def put(self, item: Item, alone: bool = False) -> None:
        """Hand a batch over; blocks while too many are under way. ``alone``: nothing waits behind it; then it is taken through at
        once where nothing is under way, since a thread that waits for another loses more than a small batch takes."""
        with self._lock:
            self.before_commit += 1
            now = alone and self.before_commit == 1 and self._outlet.room()
        if now:
            self._score_one(item)
            self._commit_one(item)
        else:
            self._room.acquire()
            self._to_score.put(item)

    def close(self) -> None:
        """Let everything through, and end."""
        self._to_score.put(None)
        for thread in self._threads:
            thread.join()

    def _score(self) -> None:
        while (item := self._to_score.get()) is not None:
            self._room.release()
            self._score_one(item)
            self._to_commit.put(item)
        self._to_commit.put(None)

    @staticmethod
    def _score_one(item: Item) -> None:
        if item.lane.failed is None:
            try:
                item.lane.engine.score(item.work)
            except BaseException as error:  # noqa: BLE001 - of one lane; it is taken up anew
                item.lane.broke(error)

    def _commit(self) -> None:
        while (item := self._to_commit.get()) is not None:
            self._commit_one(item)

    def _commit_one(self, item: Item) -> None:
        lane, work = item.lane, item.work
        if lane.failed is None:
            try:
                lane.commit(work, item.progress)
            except BaseException as error:  # noqa: BLE001 - of one lane; it is taken up anew
                lane.broke(error)
        with self._lock:
            self.before_commit -= 1
        if lane.failed is None:
            self._outlet.put(lane, [] if work.arrivals.past else work.records, bool(work.quarantined), last_of(work))
        else:
            lane.over()

