"""When requests are meant to be sent: seeded schedules in nanoseconds from the start, in order."""

from __future__ import annotations

import numpy as np

HOURS = 24.0


def poisson(rate: float, seconds: float, seed: int = 1) -> np.ndarray:
    """Independent arrivals, ``rate`` a second on average."""
    n = max(1, round(rate * seconds))
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, n)
    return (np.cumsum(gaps) * 1e9).astype(np.int64)


def constant(rate: float, seconds: float) -> np.ndarray:
    """One arrival every 1/``rate`` seconds."""
    n = max(1, round(rate * seconds))
    return (np.arange(n) * (1e9 / rate)).astype(np.int64)


def day(decisions: int, speed: float, seed: int = 1) -> np.ndarray:
    """Exactly ``decisions`` independent arrivals of one day, played ``speed`` times as fast.

    Quiet at three at night (a twentieth of the mean), busiest at three in the afternoon (1.95 times the mean).
    """
    hours = np.linspace(0.0, HOURS, 100_001)
    angle = 2 * np.pi * (hours - 3.0) / HOURS
    share = (hours - 0.95 * (np.sin(angle) - np.sin(angle[0])) * HOURS / (2 * np.pi)) / HOURS
    at = np.interp(np.sort(np.random.default_rng(seed).random(decisions)), share, hours)
    return (at * 3600e9 / speed).astype(np.int64)
