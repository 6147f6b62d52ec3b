"""Intervals that hold at every look, however often and whenever one looks."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence sequence at one look."""

    value: float
    low: float
    high: float


def tuned(alpha: float, at: float) -> float:
    """The ρ that makes the boundary tightest around ``at`` observations (Waudby-Smith et al. 2021, appendix)."""
    return math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / at)


def asymptotic(mean: float, deviation: float, n: float, alpha: float = 0.05, at: float = 1000.0) -> Interval:
    """Asymptotic confidence sequence for a mean of n independent values with standard deviation ``deviation``.

    Normal-mixture boundary of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
    asymptotic confidence sequences" (2021), equation (2): valid at every look in the limit of many values.

    >>> interval = asymptotic(1.0, 2.0, 400)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.688, 1.312)
    """
    if n < 2 or not math.isfinite(deviation):
        return Interval(mean, -math.inf, math.inf)
    scale = n * tuned(alpha, at) ** 2
    half = deviation * math.sqrt(2 * (scale + 1) / (n * scale) * math.log(math.sqrt(scale + 1) / alpha))
    return Interval(mean, mean - half, mean + half)
