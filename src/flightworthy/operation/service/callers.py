"""Who calls, by key or by token, and how often each may."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flightworthy.ground.clock import SECOND, SystemClock
from flightworthy.ground.errors import DataError
from flightworthy.operation.service.keys import Keys

if TYPE_CHECKING:
    from flightworthy.operation.service.tokens import Tokens

_HEADER, _BUCKETS = 16_500, 10_000


@dataclass(frozen=True)
class Caller:
    """Somebody who proved who they are. ``name`` is for logs, the ledger and limits: ``key 1a2b3c4d`` or ``sub of issuer``."""

    name: str
    roles: frozenset[str]


class Callers:
    """Keys and tokens behind one question. Without either of them what it would prove is not accepted.

    ``clock`` gives microseconds UTC, the machine's by default, and decides when a key ends; tokens have their own.
    """

    def __init__(self, keys: Keys | None, tokens: Tokens | None = None, clock: Callable[[], int] | None = None) -> None:
        self.keys, self.tokens, self._clock = keys, tokens, clock or SystemClock().now

    def who(self, authorization: bytes) -> Caller | None:
        """The caller behind the value of an Authorization header; None unless it is ``Bearer`` and a valid key or token.

        Asks nobody over the network. Raises `DataError` when the keys' file cannot be read.

        >>> Callers(None).who(b"Bearer fw_1_2") is None
        True
        """
        if len(authorization) > _HEADER:
            return None
        scheme, _, rest = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        text = rest.strip()
        if not text.startswith("fw_"):
            return self.tokens.who(text) if self.tokens is not None else None
        key = self.keys.who(text, self._clock()) if self.keys is not None else None
        return None if key is None else Caller(f"key {key.id}", frozenset(key.roles))


class Rates:
    """How many records each caller may send: ``rate`` every ``per`` seconds in the long run, ``burst`` at once.

    A token bucket for each name, counted in whole numbers: nothing is rounded, so that a caller who waits as long as it was
    told is let in. Of 10,000 names the one not heard of for longest is forgotten, and would start with a full bucket.
    Not for several threads at once. Raises `DataError` unless all three are whole and positive.

    >>> rates = Rates(rate=2, burst=4)
    >>> rates.allow("till", 3, 0.0), rates.allow("till", 3, 0.0), rates.allow("till", 3, 1.0)
    (0.0, 1.0, 0.0)
    """

    def __init__(self, rate: int, burst: int, per: int = 1) -> None:
        for name, value in (("rate", rate), ("burst", burst), ("per", per)):
            if not isinstance(value, int) or value < 1:
                raise DataError("no limit", where=name, found=value, expected="a whole number, 1 or more")
        self.rate, self.burst = rate, burst
        # A record costs as many units as make a whole number of them come in each microsecond: `rate`.
        self._cost = per * SECOND
        self._full = burst * self._cost
        self._buckets: OrderedDict[str, tuple[int, int]] = OrderedDict()  # units in it, and when (microseconds)

    def __len__(self) -> int:
        """Names remembered."""
        return len(self._buckets)

    def allow(self, name: str, n: int, now_seconds: float) -> float:
        """Take ``n`` records out of a bucket: 0.0 when it held them, else the seconds until it would, and nothing is taken.

        ``now_seconds`` is any clock that does not go back (one that does stands still), to the microsecond; the answer is
        infinite when ``n`` is more than a burst: such a request is never allowed. Raises `ValueError` for a negative ``n``.
        """
        if n < 0:
            raise ValueError(f"{n} records")
        at = round(now_seconds * SECOND)  # microseconds: the sum of a time and a wait, as floats, still tells them apart
        held, since = self._buckets.get(name, (self._full, at))
        at = max(at, since)
        held = min(self._full, held + (at - since) * self.rate)
        cost = n * self._cost
        allowed = cost <= held
        self._buckets[name] = (held - cost if allowed else held, at)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _BUCKETS:
            self._buckets.popitem(last=False)
        if allowed:
            return 0.0
        return math.inf if cost > self._full else -((held - cost) // self.rate) / SECOND


class Refusals:
    """Paces callers who are refused and come back at once: refusing them must not take the time of those who are served.

    >>> refusals = Refusals(most=2, longest=1.0)
    >>> [refusals.rest(0.0) for _ in range(3)]
    [0.5, 1.0, 1.0]
    """

    def __init__(self, most: float = 2000, longest: float = 2.0) -> None:
        self._step, self._longest, self._until = 1 / most, longest, 0.0

    def rest(self, now: float) -> float:
        """Seconds in which the connection of a caller who was just refused is not read: so many that, together, at most ``most``
        come back in a second, but never more than ``longest``. Nearly nothing for the first ones."""
        self._until = min(max(now, self._until) + self._step, now + self._longest)
        return self._until - now
