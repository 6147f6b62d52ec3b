"""Decide a stream: three stages in three threads, batches in order, memory bounded.

While one batch is admitted and its features computed, the one before is asked of the model, and the one before that is
written down and made durable. The long parts of all three (feature kernel, model, SQLite) run outside Python's interpreter lock.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import EVENT, Arrivals, Work
from flightworthy.ground.collector import rare_collections
from flightworthy.ground.errors import DataError
from flightworthy.operation.feed import Lot
from flightworthy.operation.publishing import publishing

BATCH, AHEAD = 8192, 3


@dataclass
class StreamReport:
    """What went through: records read, results by kind, seconds of each stage, seconds in all."""

    records: int = 0
    decisions: int = 0
    remembered: int = 0
    outcomes: int = 0
    duplicates: int = 0
    quarantined: int = 0
    batches: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    clocks: list[tuple[int, int, int, int, int]] = field(default_factory=list)  # n, queue, features, model, commit µs


def run(engine: Engine, lots: Iterable[Lot], source: str, batch: int = BATCH, key: str | None = None,
        watch: Callable[[StreamReport], None] | None = None, snapshot_every: int = 500,
        between: Callable[[StreamReport], None] | None = None) -> StreamReport:
    """Decide all arrivals. With a ``key``, the ledger notes under it how far they were read, and a later run with the same
    key goes on from there: it must stand for these very arrivals in this very order (see `identity`). A snapshot of the
    feature state is written every so many batches, once they are durable. ``between`` is called after each batch when all is
    durable and nothing under way: there a rollout may take a step.

    Returns when everything is durable. An error of any stage ends the run: the engine is recovered to its ledger, and
    the error is raised.
    """
    pipe = _Pipe(engine, source, key, watch, snapshot_every, between)
    start = engine.ledger.progress(key) if key is not None else 0
    with rare_collections(), publishing(engine):
        return pipe.run(batches(lots, batch, start), start)


def identity(files: Sequence[Path | None]) -> str:
    """A key for arrivals that are made of these files: their contents and their order. Raises `DataError`."""
    sha = sha256()
    for path in files:
        sha.update(b"\0" if path is None else b"\1")
        if path is not None:
            try:
                with path.open("rb") as file:
                    sha.update(file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(f"cannot read the file: {error}", where=str(path)) from error
    return sha.hexdigest()


def batches(lots: Iterable[Lot], size: int, skip: int = 0) -> Iterator[Lot]:
    """The same arrivals in lots of ``size``, fewer where the past ends and where the stream ends; the first ``skip``
    arrivals are left out."""
    held = Lot([])
    for arrived in lots:
        lot = _cut(arrived, min(skip, len(arrived.raws)), len(arrived.raws))
        skip -= len(arrived.raws) - len(lot.raws)
        if lot.past != held.past and held.raws:
            yield held
            held = Lot([])
        held = _joined(held, lot) if held.raws else lot
        while len(held.raws) >= size:
            yield _cut(held, 0, size)
            held = _cut(held, size, len(held.raws))
    if held.raws:
        yield held


def _cut(lot: Lot, start: int, stop: int) -> Lot:
    if start == 0 and stop == len(lot.raws):
        return lot
    if lot.kinds is None:
        return Lot(lot.raws[start:stop], None, lot.past, None if lot.times is None else lot.times[start:stop])
    kinds = lot.kinds[start:stop]
    first = lot.kinds[:start].count(EVENT)
    times = None if lot.times is None else lot.times[first : first + kinds.count(EVENT)]
    return Lot(lot.raws[start:stop], kinds if any(kinds) else None, lot.past, times)


def _joined(first: Lot, second: Lot) -> Lot:
    times = None if first.times is None or second.times is None else np.r_[first.times, second.times]
    if first.kinds is None and second.kinds is None:
        return Lot(first.raws + second.raws, None, first.past, times)
    kinds = [lot.kinds or [EVENT] * len(lot.raws) for lot in (first, second)]
    return Lot(first.raws + second.raws, kinds[0] + kinds[1], first.past, times)


class _Pipe:
    def __init__(self, engine: Engine, source: str, key: str | None, watch: Callable[[StreamReport], None] | None,
                 snapshot_every: int, between: Callable[[StreamReport], None] | None) -> None:
        self.engine, self.source, self.key, self.watch, self.snapshot_every = engine, source, key, watch, snapshot_every
        self.between = between
        self.prepared = 0
        self.report = StreamReport()
        self.seconds: Counter[str] = Counter()
        self.to_score: queue.Queue[tuple[Work, int] | None] = queue.Queue(AHEAD)
        self.to_commit: queue.Queue[tuple[Work, int] | None] = queue.Queue(AHEAD)
        self.failure: list[BaseException] = []

    def run(self, chunks: Iterator[Lot], position: int) -> StreamReport:
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

    def _prepare(self, chunks: Iterator[Lot], position: int) -> None:
        engine, tick = self.engine, self.engine.clock.tick
        while not self.failure:
            t0 = tick()
            chunk = next(chunks, None)
            if chunk is None:
                return
            t1 = tick()
            arrivals = Arrivals(chunk.raws, engine.clock.now(), chunk.kinds, self.source, position, t1, chunk.past,
                                chunk.times)
            work = engine.prepare(arrivals)
            self.seconds["read"] += t1 - t0
            self.seconds["prepare"] += tick() - t1
            position += len(chunk.raws)
            self.prepared += 1
            self._put(self.to_score, (work, position))
            if self.prepared % self.snapshot_every == 0 and self._settled():
                self.engine.save()  # a snapshot must not be ahead of the ledger
            if self.between is not None and self._settled():
                self.between(self.report)

    def _settled(self) -> bool:
        """Let the later stages catch up; false when one of them failed."""
        while self.report.batches < self.prepared and not self.failure:
            time.sleep(0.001)
        return not self.failure

    def _score(self) -> None:
        tick = self.engine.clock.tick
        while (item := self._get(self.to_score)) is not None:
            t0 = tick()
            self.engine.score(item[0])
            self.seconds["model"] += tick() - t0
            self._put(self.to_commit, item)
        self._put(self.to_commit, None)

    def _commit(self) -> None:
        tick = self.engine.clock.tick
        while (item := self._get(self.to_commit)) is not None:
            work, position = item
            t0 = tick()
            self.engine.finish(work)
            t1 = tick()
            self.engine.commit(work, {} if self.key is None else {self.key: position})
            took = tick() - t1
            self.seconds["finish"] += t1 - t0
            self.seconds["commit"] += took
            self._count(work, took)

    def _count(self, work: Work, commit_ns: int) -> None:
        report, n, past = self.report, len(work.events), work.arrivals.past
        report.records += len(work.arrivals.raws)
        report.decisions += 0 if past else n
        report.remembered += n if past else 0
        report.outcomes += len(work.outcomes)
        report.quarantined += len(work.quarantined)
        report.duplicates += len(work.results) - n - len(work.outcomes) - sum(
            1 for q in work.quarantined if q.reason != "id_conflict")
        report.batches += 1
        if n and not past:
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
