"""A shard: the process that owns one engine. It takes what waits, decides it as one batch, and makes it durable while it is
already deciding the next one; answers leave when their batch is durable.

A lone request never waits for company. While a commit is under way requests gather; when enough of them wait, the next batch
is decided meanwhile. So batches grow under load by themselves.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from queue import SimpleQueue

from flightworthy.decision.engine import Engine
from flightworthy.decision.fallback import CHALLENGER, CHAMPION, PREVIOUS
from flightworthy.decision.guard import Breaker, Guard
from flightworthy.decision.work import EVENT, Arrivals, Work
from flightworthy.model.runtime import INPROCESS
from flightworthy.operation.service import wire
from flightworthy.operation.service.errands import Errands, State
from flightworthy.operation.service.saver import Saver
from flightworthy.operation.service.telling import answers_of, refusals
from flightworthy.operation.service.wire import Ask

_log = logging.getLogger("flightworthy.service")
_RECEIVE, _SNAPSHOT_EVERY, _PATIENCE = 1 << 20, 50_000, 30.0
_WORTH = 64  # requests that make it worth deciding the next batch while a commit is under way; fewer wait and travel together
_CLEAN = 30.0  # seconds after which a moment of rest is used to look for garbage
_LOOK = 50  # milliseconds: how often a shard with nothing to do looks for what it set itself to do later


@dataclass
class Batch:
    """Asks decided together."""

    asks: list[Ask]
    work: Work
    started: int


class Shard:
    """Serves one socket until it is told to leave, or nobody is at the other end."""

    def __init__(self, engine: Engine, link: socket.socket, folder: Path) -> None:
        self.engine, self._link, self._reader = engine, link, link.dup()
        self._reader.setblocking(False)
        self._link.settimeout(_PATIENCE)
        self._ready = select.poll()
        self._ready.register(self._reader, select.POLLIN)
        self._frames = wire.Frames()
        self._waiting: deque[Ask] = deque()
        self._errands = Errands(self, folder)
        self._leaving = False
        self._idle = threading.Semaphore(1)  # free: no commit is under way
        self._commits: SimpleQueue[Batch | None] = SimpleQueue()
        self._sending = threading.Lock()
        self.failed: BaseException | None = None  # of the last commit; the engine then is ahead of its ledger
        self._saved, self._saver = engine.admission.next_seq, Saver()
        self._expected, self._collected = self._sample(), time.monotonic()
        self._committer = threading.Thread(target=self._commit_all, name="committer", daemon=True)
        self._committer.start()

    # -- the line -----------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Until the other end has gone, or said so."""
        while not self._leaving or self._waiting:
            self._receive(block=not self._waiting and not self._errands.due)
            self._errands.run()
            if self._waiting:
                self.decide(self._take())
            elif self.engine.admission.next_seq - self._saved >= _SNAPSHOT_EVERY and self._saver.ready:
                self._save()
            elif time.monotonic() - self._collected > _CLEAN:
                gc.collect()  # nobody waits
                self._collected = time.monotonic()
        self.settle()
        self._commits.put(None)
        self._committer.join()
        self._saver.wait()

    def decide(self, asks: list[Ask], again: bool = True) -> None:
        """One batch, as far as its commit."""
        now = time.monotonic_ns()
        asks = [ask for ask in asks if ask.late > now]  # the others were answered without us
        if not asks:
            return
        try:
            if self.failed is not None:
                self.recover()
            batch = Batch(asks, self._prepare(asks), now)
        except Exception as error:  # noqa: BLE001 - every caller hears of it; the engine goes back to its ledger
            self.fail(error)
            self.send(refusals(asks, error))
            return
        self._idle.acquire()
        if self.failed is None:
            self._receive(block=False)
            if len(self._waiting) >= _WORTH:
                self._commits.put(batch)
            else:
                self._commit(batch)
            return
        self._idle.release()  # the batch before was lost, and this one stands upon it: once more from the ledger
        if again:
            self.decide(asks, again=False)
        else:
            self.send(refusals(asks, self.failed))

    def _prepare(self, asks: list[Ask]) -> Work:
        engine = self.engine
        raws = list(chain.from_iterable(ask.raws for ask in asks))
        kinds = [ask.kind for ask in asks for _ in ask.raws] if any(ask.kind != EVENT for ask in asks) else None
        work = engine.prepare(Arrivals(raws, engine.clock.now(), kinds, "http", received_tick=engine.clock.tick()))
        engine.score(work)
        engine.finish(work)
        if not engine.pilot.manifest.service.durable:
            self.send(answers_of(engine, asks, work, 0.0))
        return work

    def _commit_all(self) -> None:
        while (batch := self._commits.get()) is not None:
            self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        try:
            self.engine.commit(batch.work)
            if self.engine.pilot.manifest.service.durable:
                self.send(answers_of(self.engine, batch.asks, batch.work, (time.monotonic_ns() - batch.started) / 1e9))
        except Exception as error:  # noqa: BLE001 - every caller hears of it
            self.fail(error)
            self.send(refusals(batch.asks, error))
        finally:
            self._idle.release()

    # -- what errands need --------------------------------------------------------------------------------------
    def fail(self, error: BaseException) -> None:
        """From here on the ledger is the truth, and the engine must go back to it."""
        if self.failed is None:
            _log.error("a batch was undone: %s: %s", type(error).__name__, error)
        self.failed = error

    def settle(self) -> None:
        """Wait for the commit under way; then bring the engine to where the ledger is. Raises what recovery raises."""
        with self._idle:
            pass
        if self.failed is not None:
            self.recover()

    def recover(self) -> None:
        """Back to the ledger. Raises `LedgerError` while it cannot be read."""
        with self._idle:
            self.engine.recover()
            self.failed = None

    def later(self, ask: Ask) -> None:
        """Do this errand when there is time; from any thread."""
        self._errands.add(ask)

    def renewed(self) -> None:
        """Another version decides from here on."""
        self.guard()
        self._expected = self._sample()

    def guard(self) -> None:
        """Give the models of the engine their time limits."""
        guard(self.engine)

    def unsaved(self) -> None:
        """No snapshot of the feature state is being written."""
        self._saver.wait()

    def about(self) -> State:
        """How this shard is. It is ready when its champion gives the bits it gave at the start; one that gives nothing leaves
        decisions to the next step, which is no reason to take the service away."""
        engine, answer = self.engine, self._sample()
        return State(answer in (self._expected, None), answer is None, engine.killed, engine.pilot.digest,
                     engine.line.chain.models[CHAMPION].digest, engine.admission.next_seq - 1, os.getpid())

    def _sample(self) -> bytes | None:
        chain = self.engine.line.chain
        answer, failed = chain.ask(CHAMPION, chain.models[CHAMPION].references[None, :])
        return None if failed else answer.tobytes()

    def leave(self) -> None:
        """Decide what waits, then end."""
        self._leaving = True

    def send(self, told: wire.Answers) -> None:
        """Hand answers to the other end."""
        with self._sending:
            try:
                self._link.sendall(wire.frame(told))
            except OSError:
                self._leaving = True  # nobody is there; what is durable stays durable

    # -- in and out ---------------------------------------------------------------------------------------------
    def _receive(self, block: bool) -> None:
        if block:
            self._ready.poll(_LOOK)
        try:
            data = self._reader.recv(_RECEIVE)
        except BlockingIOError:
            return
        if not data:
            self._leaving = True
            return
        for content in self._frames.feed(data):
            for ask in wire.asks(content):
                if ask.kind <= wire.OUTCOME:
                    self._waiting.append(ask)
                else:
                    self._errands.add(ask)

    def _take(self) -> list[Ask]:
        taken = [self._waiting.popleft()]
        size, most = len(taken[0].raws), self.engine.pilot.manifest.service.batch
        while self._waiting and size + len(self._waiting[0].raws) <= most:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].raws)
        return taken

    def _save(self) -> None:
        self.settle()
        self._saver.save(self.engine)
        self._saved = self.engine.admission.next_seq


def guard(engine: Engine) -> None:
    """Give the models their time limits. The built-in flavour in this very process computes and cannot wait for anything: a
    limit would cost it a change of threads for each batch and never strike."""
    manifest = engine.pilot.manifest
    engine.line.guards.clear()
    if (manifest.adapters.runtime, manifest.model.flavour) != (INPROCESS, "lightgbm"):
        timeout = manifest.service.model_timeout / 1e6
        engine.line.guards.update({step: Guard(timeout, Breaker(engine.clock)) for step in (CHALLENGER, CHAMPION, PREVIOUS)})
    engine.line.chain.guards = engine.line.guards
