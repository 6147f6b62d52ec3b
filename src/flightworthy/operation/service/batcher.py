"""Requests of many callers become batches of one engine, by themselves.

One thread owns the engine. It takes whatever waits, decides it as one batch with one group commit, answers, and takes
what came meanwhile: a lone request never waits for company, and under load batches grow. The queue is bounded; past it
callers hear at once that they must come later.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import EVENT, Arrivals
from flightworthy.ground.errors import FlightworthyError
from flightworthy.integration.contract import Raw

_log = logging.getLogger("flightworthy.service")


class BusyError(FlightworthyError):
    """The queue is full, or the service is going down; nothing was done with the request."""


@dataclass
class Request:
    """Records of one caller, all of one kind; its results come together, when all of them are durable."""

    raws: Sequence[Raw]
    kind: int
    tick: int
    done: Any  # a future of this thread's world: concurrent, or of an event loop


@dataclass
class Errand:
    """Something to do with the engine between two batches."""

    act: Callable[[Engine], Any]
    done: Future[Any] = field(default_factory=Future)


class Batcher:
    """Feeds one engine. `submit` and `run` may be called from any thread."""

    def __init__(self, engine: Engine, queue: int = 4096, batch: int = 512,
                 watch: Callable[[int, list[Any], float], None] | None = None,
                 hand_over: Callable[[Callable[[], None]], object] = lambda settle: settle()) -> None:
        self.engine, self._queue, self._batch, self._watch = engine, queue, batch, watch
        self.hand_over = hand_over  # runs what settles a whole batch where its futures live: once a batch, not once a request
        self._waiting: deque[Request | Errand] = deque()
        self._records = 0
        self._changed = threading.Condition()
        self._open = True
        self.failed: BaseException | None = None  # of the last batch; None when it went well
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records that wait."""
        return self._records

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs and takes requests."""
        return self._open and self._thread.is_alive()

    def submit(self, raws: Sequence[Raw], kind: int = EVENT, done: Any = None) -> Any:
        """A future (``done``, or a concurrent one) of one result for each record, once they are durable. Raises
        `BusyError`; the future may raise `LedgerError`."""
        request = Request(raws, kind, self.engine.clock.tick(), done if done is not None else Future())
        with self._changed:
            if not self._open:
                raise BusyError("the service is going down", retryable=True, next_step="send it to another replica, or later")
            if self._records and self._records + len(raws) > self._queue:
                raise BusyError("too many records wait", found=self._records, expected=f"at most {self._queue}", retryable=True,
                                next_step="send it again later, more slowly")
            self._records += len(raws)
            self._waiting.append(request)
            self._changed.notify()
        return request.done

    def run(self, act: Callable[[Engine], Any]) -> Future[Any]:
        """Do something with the engine after the batch under way, ahead of all that wait. Raises `BusyError`."""
        errand = Errand(act)
        with self._changed:
            if not self._open:
                raise BusyError("the service is going down")
            self._waiting.appendleft(errand)
            self._changed.notify()
        return errand.done

    def close(self) -> None:
        """Take no more, answer all that wait, and end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            if isinstance(taken, Errand):
                self._run(taken)
            else:
                self._decide(taken)

    def _run(self, errand: Errand) -> None:
        try:
            errand.done.set_result(errand.act(self.engine))
        except BaseException as error:  # noqa: BLE001 - handed to who asked for it
            errand.done.set_exception(error)

    def _take(self) -> list[Request] | Errand | None:
        """All that waits, up to a batch; an errand alone; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._waiting:
                return None
            if isinstance(self._waiting[0], Errand):
                return self._waiting.popleft()  # type: ignore[return-value]
            taken: list[Request] = []
            size = 0
            while self._waiting and isinstance(first := self._waiting[0], Request) and (
                    not taken or size + len(first.raws) <= self._batch):
                taken.append(first)
                size += len(first.raws)
                self._waiting.popleft()
            self._records -= size
            return taken

    def _decide(self, requests: list[Request]) -> None:
        engine = self.engine
        started = engine.clock.tick()
        raws = [raw for request in requests for raw in request.raws]
        kinds = [request.kind for request in requests for _ in request.raws]
        try:
            results = engine.process(Arrivals(raws, engine.clock.now(), kinds if any(kinds) else None, "http",
                                              received_tick=min(request.tick for request in requests)))
        except BaseException as error:  # noqa: BLE001 - every caller hears of it; the engine has gone back to its ledger
            self.failed = error
            _log.error("a batch of %d records failed and was undone: %s: %s", len(raws), type(error).__name__, error)
            self.hand_over(partial(_settle, requests, [], error))
            return
        self.failed = None
        self.hand_over(partial(_settle, requests, results, None))
        if self._watch is not None:
            self._watch(len(requests), results, (engine.clock.tick() - started) / 1e9)


def _settle(requests: list[Request], results: list[Any], error: BaseException | None) -> None:
    at = 0
    for request in requests:
        part = results[at : at + len(request.raws)]
        at += len(request.raws)
        if request.done.done():  # its caller has gone, or its time was up
            continue
        if error is not None:
            request.done.set_exception(error)
        else:
            request.done.set_result(part)
