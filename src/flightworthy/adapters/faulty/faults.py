"""Failure on purpose, declared in a URL: which calls fail, how, and how often. Seeded: the same calls fail again.

``latency=0.1:50ms`` a tenth of the calls take 50 ms longer · ``error=0.01`` one in a hundred raises · ``hang=0.001:5s`` one
in a thousand answers only after 5 s · ``partial=0.01`` part of what is written is durable, then it raises · ``lost=0.01`` all
is durable, but the caller hears an error · ``flap=2s:1s`` two seconds up, one second down, again and again · ``only=commit``
these calls alone (comma between several) · ``seed=7`` · ``file=NAME`` read the same words from a file, again whenever it
changes: faults can be turned on and off under load.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl

from flightworthy.ground.clock import duration
from flightworthy.ground.errors import AdapterError, nearest

_KNOWN = ("latency", "error", "hang", "partial", "lost", "flap", "only", "seed", "file")
PARTIAL, LOST = "partial", "lost"


@dataclass(frozen=True)
class Faults:
    """Shares are probabilities in [0, 1]; durations are seconds; ``flap`` is (up, down), (0, 0): never down."""

    latency: tuple[float, float] = (0.0, 0.0)
    error: float = 0.0
    hang: tuple[float, float] = (0.0, 0.0)
    partial: float = 0.0
    lost: float = 0.0
    flap: tuple[float, float] = (0.0, 0.0)
    only: frozenset[str] = frozenset()
    seed: int = 0
    file: str = ""

    @classmethod
    def read(cls, words: str, where: str) -> Faults:
        """Parse ``error=0.1&latency=0.5:20ms``. Raises `AdapterError`.

        >>> Faults.read("latency=0.5:20ms&only=commit", "").latency
        (0.5, 0.02)
        """
        made: dict[str, object] = {}
        for name, text in parse_qsl(words, keep_blank_values=True):
            if name not in _KNOWN:
                raise AdapterError(f"unknown fault '{name}'", where=where, found=words, next_step=nearest(name, _KNOWN))
            try:
                made[name] = _READ[name](text)
            except ValueError as error:
                raise AdapterError(f"the fault '{name}' cannot be read: {error}", where=where, found=text,
                                   expected="such as latency=0.1:50ms, error=0.01, flap=2s:1s") from error
        return cls(**made)  # type: ignore[arg-type]


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError("a share lies between 0 and 1")
    return share


def _share_and_time(text: str) -> tuple[float, float]:
    share, _, length = text.partition(":")
    return _share(share), duration(length) / 1e6


def _times(text: str) -> tuple[float, float]:
    up, _, down = text.partition(":")
    return duration(up) / 1e6, duration(down) / 1e6


_READ: Mapping[str, Callable[[str], object]] = {
    "latency": _share_and_time, "hang": _share_and_time, "flap": _times, "error": _share, "partial": _share, "lost": _share,
    "only": lambda text: frozenset(text.split(",")), "seed": int, "file": str}


class Misfortune:
    """Strikes calls as declared. May be asked from several threads."""

    def __init__(self, words: str, where: str, base: Path | None, clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self._where, self._clock, self._sleep = where, clock, sleep
        self._faults = Faults.read(words, where)
        self._path = (base or Path()) / self._faults.file if self._faults.file else None
        self._stamp: tuple[int, int] | None = None
        self._random, self._started, self._lock = Random(self._faults.seed), clock(), threading.Lock()  # noqa: S311 - not a secret

    def before(self, call: str) -> str:
        """Wait or raise as declared; else what shall become of a write: ``partial``, ``lost`` or nothing. Raises
        `AdapterError` (retryable)."""
        with self._lock:
            faults = self._current()
            draws = [self._random.random() for _ in range(5)]
            up, down = faults.flap
            is_down = down > 0 and (self._clock() - self._started) % (up + down) >= up
        if faults.only and call not in faults.only:
            return ""
        for draw, (share, length) in zip(draws, (faults.latency, faults.hang), strict=False):
            if draw < share:
                self._sleep(length)
        if is_down or draws[2] < faults.error:
            raise self.error(call, "down" if is_down else "error")
        return PARTIAL if draws[3] < faults.partial else LOST if draws[4] < faults.lost else ""

    def error(self, call: str, kind: str) -> AdapterError:
        """The error of a declared fault."""
        return AdapterError(f"a declared fault: {kind} in {call}", where=self._where, retryable=True,
                            next_step="this system was asked to fail by its URL")

    def _current(self) -> Faults:
        if self._path is None:
            return self._faults
        try:
            found = self._path.stat()
            if (stamp := (found.st_mtime_ns, found.st_size)) != self._stamp:
                words, self._stamp = self._path.read_text().strip(), stamp
                self._faults, self._started = Faults.read(words, str(self._path)), self._clock()
        except FileNotFoundError:
            self._faults, self._stamp = Faults(), None
        return self._faults
