"""Decide a stream: three stages in three threads, batches in order, memory bounded.

While one batch is admitted and its features computed, the one before is asked of the model and the one before that is
made durable. The long parts of all three (feature kernel, model, SQLite) run outside Python's interpreter lock.
"""

from __future__ import annotations

import gc
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import Arrivals, Work
from flightworthy.operation.feed import Item

BATCH, AHEAD, SWITCH_SECONDS = 2048, 3, 0.0005


@dataclass
class StreamReport:
    """What went through: records read, results by kind, seconds of each stage, seconds in all."""

    records: int = 0
    decisions: int = 0
    outcomes: int = 0
    duplicates: int = 0
    quarantined: int = 0
    batches: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    clocks: list[tuple[int, int, int, int, int]] = field(default_factory=list)  # n, queue, features, model, commit µs


def run(engine: Engine, items: Iterable[Item], source: str, batch: int = BATCH, resume: bool = False,
        watch: Callable[[StreamReport], None] | None = None, snapshot_every: int = 500) -> StreamReport:
    """Decide all items; with ``resume``, those already read from this source (the ledger knows how far) are skipped. A
    snapshot of the feature state is written every so many batches, once they are durable.

    Returns when everything is durable. An error of any stage ends the run: the engine is recovered to its ledger, and
    the error is raised.
    """
    pipe = _Pipe(engine, source, watch, snapshot_every)
    start = engine.ledger.progress(source) if resume else 0
    with _tuned_interpreter():
        return pipe.run(batches(islice(items, start, None), batch), start)


@contextmanager
def _tuned_interpreter() -> Iterator[None]:
    """Two settings for the length of a run, measured by `make bench-stream`.

    Look for reference cycles rarely: batches hold many objects and no cycles, and looking through them again and again
    costs a third of the time. Hand over the interpreter lock quickly: a stage that comes back from a long call outside
    Python would else wait 5 ms for it, several times a batch.
    """
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of at most ``size`` items."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk


class _Pipe:
    def __init__(self, engine: Engine, source: str, watch: Callable[[StreamReport], None] | None,
                 snapshot_every: int) -> None:
        self.engine, self.source, self.watch, self.snapshot_every = engine, source, watch, snapshot_every
        self.prepared = 0
        self.report = StreamReport()
        self.seconds: Counter[str] = Counter()
        self.to_score: queue.Queue[tuple[Work, int] | None] = queue.Queue(AHEAD)
        self.to_commit: queue.Queue[tuple[Work, int] | None] = queue.Queue(AHEAD)
        self.failure: list[BaseException] = []

    def run(self, chunks: Iterator[list[Item]], position: int) -> StreamReport:
        tick = self.engine.clock.tick
        started = tick()
        threads = [threading.Thread(target=self._guard, args=(stage,)) for stage in (self._score, self._commit)]
        for thread in threads:
            thread.start()
        try:
            self._prepare(chunks, position)
        except BaseException as error:  # noqa: BLE001 - handed on below, after the other stages have stopped
            self.failure.append(error)
        self._put(self.to_score, None)
        for thread in threads:
            thread.join()
        if self.failure:
            self.engine.recover()
            raise self.failure[0]
        self.report.seconds = (tick() - started) / 1e9
        self.report.stages = {name: nanos / 1e9 for name, nanos in self.seconds.items()}
        return self.report

    def _prepare(self, chunks: Iterator[list[Item]], position: int) -> None:
        engine, tick = self.engine, self.engine.clock.tick
        while not self.failure:
            t0 = tick()
            chunk = next(chunks, None)
            if chunk is None:
                return
            t1 = tick()
            kinds = [item.kind for item in chunk]
            arrivals = Arrivals([item.raw for item in chunk], engine.clock.now(), kinds if any(kinds) else None,
                                self.source, position, t1)
            work = engine.prepare(arrivals)
            self.seconds["read"] += t1 - t0
            self.seconds["prepare"] += tick() - t1
            position += len(chunk)
            self.prepared += 1
            self._put(self.to_score, (work, position))
            if self.prepared % self.snapshot_every == 0:
                self._snapshot()

    def _snapshot(self) -> None:
        """Let the later stages catch up: a snapshot must not be ahead of the ledger."""
        while self.report.batches < self.prepared and not self.failure:
            time.sleep(0.001)
        if not self.failure:
            self.engine.save()

    def _score(self) -> None:
        tick = self.engine.clock.tick
        while (item := self._get(self.to_score)) is not None:
            t0 = tick()
            self.engine.score(item[0])
            t1 = tick()
            self.engine.finish(item[0])
            self.seconds["model"] += t1 - t0
            self.seconds["finish"] += tick() - t1
            self._put(self.to_commit, item)
        self._put(self.to_commit, None)

    def _commit(self) -> None:
        tick = self.engine.clock.tick
        while (item := self._get(self.to_commit)) is not None:
            work, position = item
            t0 = tick()
            self.engine.commit(work, {self.source: position})
            took = tick() - t0
            self.seconds["commit"] += took
            self._count(work, took)

    def _count(self, work: Work, commit_ns: int) -> None:
        report, n = self.report, len(work.pending)
        report.records += len(work.arrivals.raws)
        report.decisions += n
        report.outcomes += len(work.outcomes)
        report.quarantined += len(work.quarantined)
        report.duplicates += len(work.results) - n - len(work.outcomes) - sum(
            1 for q in work.quarantined if q.reason != "id_conflict")
        report.batches += 1
        if n:
            waited, features, model = work.clocks
            report.clocks.append((n, waited, features, model, commit_ns // 1000))
        if self.watch is not None:
            self.watch(report)

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # noqa: BLE001 - raised again by `run`, in the caller's thread
            self.failure.append(error)
            self._put(self.to_commit, None)

    def _get(self, source: queue.Queue[Any]) -> Any:
        while not self.failure:
            try:
                return source.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _put(self, target: queue.Queue[Any], item: Any) -> None:
        while not self.failure:
            try:
                return target.put(item, timeout=0.1)
            except queue.Full:
                continue
        return None
