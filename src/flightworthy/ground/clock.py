"""Time is injected: nothing below the faces reads the machine's clock by itself.

All instants are integers of microseconds since 1970-01-01T00:00:00Z; durations are integers of microseconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SECOND = 1_000_000
_UNITS = {"us": 1, "ms": 1_000, "s": SECOND, "m": 60 * SECOND, "min": 60 * SECOND, "h": 3600 * SECOND,
          "d": 86400 * SECOND, "w": 7 * 86400 * SECOND, "y": 366 * 86400 * SECOND}  # a year is never shorter than in a calendar
_WORDS = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w", "year": "y"}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Arrival time (`now`, UTC microseconds) and a stopwatch (`tick`, nanoseconds from an arbitrary start)."""

    def now(self) -> int: ...

    def tick(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def tick(self) -> int:
        return time.perf_counter_ns()


@dataclass
class ManualClock:
    """A clock that moves only when told to, for replays, simulations and tests."""

    at: int = 0

    def now(self) -> int:
        return self.at

    def tick(self) -> int:
        return self.at * 1000


def duration(text: str) -> int:
    """Parse a duration such as ``7d``, ``90 minutes`` or ``40 ms`` into microseconds.

    Raises `ValueError` on anything else; nothing is assumed about a bare number.

    >>> duration("7d") == 7 * 86400 * SECOND
    True
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration: {text!r} (examples: 7d, 12h, 90m, 40ms)")
    number, unit = match.groups()
    unit = _WORDS.get(unit.removesuffix("s"), unit) if len(unit) > 2 else unit
    if unit not in _UNITS:
        raise ValueError(f"unknown unit {unit!r} in {text!r} (use us, ms, s, m, h, d, w, y)")
    micros = Decimal(number) * _UNITS[unit]
    if micros >= 10**24 or micros != int(micros):
        raise ValueError(f"{text!r} is not a whole number of microseconds")
    return int(micros)


def say(micros: int) -> str:
    """A duration in the largest unit that keeps it whole.

    >>> say(7 * 86400 * SECOND), say(90 * SECOND)
    ('7d', '90s')
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if micros and micros % _UNITS[unit] == 0:
            return f"{micros // _UNITS[unit]}{unit}"
    return f"{micros}us"


def micros(moment: datetime) -> int:
    """Exact microseconds of an aware instant; a naive one is read as UTC."""
    if not isinstance(moment, datetime):
        raise TypeError(f"not an instant: {moment!r}")
    return (moment - (_NAIVE_EPOCH if moment.tzinfo is None else EPOCH)) // _MICROSECOND


def micros_of(moments: Sequence[datetime]) -> NDArray[np.int64]:
    """`micros` of many (n). Raises `TypeError` when one is no instant."""
    one = _MICROSECOND
    for start in (EPOCH, _NAIVE_EPOCH):  # all aware, or all naive
        with suppress(TypeError):
            return np.array([(m - start) // one for m in moments], np.int64)
    return np.array([micros(m) for m in moments], np.int64)


def moment(instant: int) -> datetime:
    """The aware UTC instant of a number of microseconds."""
    return EPOCH + timedelta(microseconds=instant)


def iso(instant: int) -> str:
    """RFC 3339 text in UTC.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    return moment(instant).isoformat().replace("+00:00", "Z")
