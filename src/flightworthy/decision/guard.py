"""Calls that may be slow or never return: each has a time limit, and what keeps failing is left alone for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from flightworthy.ground.clock import Clock

_ABANDONED = 4  # threads that never came back, for each guard


class OpenError(Exception):
    """Not asked: it failed too often just now."""


class Breaker:
    """A circuit breaker (Nygard, Release It!, 2007): closed; open after ``failures`` in a row; after ``rest`` seconds one
    call is let through, and its success closes it.

    >>> from flightworthy.ground.clock import ManualClock
    >>> clock = ManualClock()
    >>> breaker = Breaker(clock, failures=1, rest=1.0)
    >>> breaker.failed(); breaker.allows()
    False
    >>> clock.at += 1_000_000; breaker.allows(), breaker.allows()
    (True, False)
    """

    def __init__(self, clock: Clock, failures: int = 5, rest: float = 1.0) -> None:
        self._clock, self._limit, self._rest = clock, failures, int(rest * 1e9)
        self._failures = 0
        self._until = 0

    @property
    def closed(self) -> bool:
        """Whether calls pass as usual."""
        return self._failures < self._limit

    def allows(self) -> bool:
        """Whether a call may be made now. Between two rests this is true once."""
        if self.closed:
            return True
        now = self._clock.tick()
        if now < self._until:
            return False
        self._until = now + self._rest
        return True

    def succeeded(self) -> None:
        """The call went well."""
        self._failures = 0

    def failed(self) -> None:
        """The call failed."""
        self._failures += 1
        if not self.closed:
            self._until = self._clock.tick() + self._rest


class Guard:
    """Makes calls in a thread of its own. One that is late is abandoned: its answer, if it ever comes, goes nowhere."""

    def __init__(self, timeout: float, breaker: Breaker) -> None:
        self.timeout, self.breaker = timeout, breaker
        self._calls: SimpleQueue[Any] | None = None
        self._stuck: list[threading.Thread] = []
        self._thread: threading.Thread | None = None

    def call(self, act: Callable[..., Any], *given: Any) -> Any:
        """What ``act(*given)`` returns or raises. Raises `TimeoutError` after ``timeout`` seconds, `OpenError` while the
        breaker is open. From one thread at a time."""
        self._stuck = [thread for thread in self._stuck if thread.is_alive()]
        if not self.breaker.allows() or len(self._stuck) >= _ABANDONED:
            raise OpenError("left alone after repeated failures")
        answer = _Answer()
        self._ready().put((act, given, answer))
        if not answer.there.acquire(timeout=self.timeout):
            self._abandon()
            self.breaker.failed()
            raise TimeoutError(f"no answer within {self.timeout * 1000:g} ms")
        if answer.error is not None:
            self.breaker.failed()
            raise answer.error
        self.breaker.succeeded()
        return answer.value

    def _ready(self) -> SimpleQueue[Any]:
        if self._calls is None:
            self._calls = SimpleQueue()
            self._thread = threading.Thread(target=_serve, args=(self._calls,), daemon=True, name="guard")
            self._thread.start()
        return self._calls

    def _abandon(self) -> None:
        if self._calls is not None and self._thread is not None:
            self._calls.put(None)  # it ends when it comes back
            self._stuck.append(self._thread)
        self._calls = self._thread = None


class _Answer:
    def __init__(self) -> None:
        self.there = threading.Lock()
        self.there.acquire()
        self.value: Any = None
        self.error: BaseException | None = None


def _serve(calls: SimpleQueue[Any]) -> None:
    while (call := calls.get()) is not None:
        act, given, answer = call
        try:
            answer.value = act(*given)
        except BaseException as error:  # noqa: BLE001 - handed to who asked
            answer.error = error
        answer.there.release()
