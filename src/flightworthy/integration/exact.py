"""Money in a table of numbers, compiled: what a decimal of so many digits is, and which numbers are none."""

from __future__ import annotations

import numpy as np
from numba import njit

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_OPTIONS)
def settle(numbers, columns, scales):
    """Round decimals to their digits, in place, where the last bits alone differ: 85.64999999999999 is 85.65, binary noise and no
    third digit. What differs by more stays as it is. numbers (n, fields); columns and scales (decimals)."""
    for row in range(numbers.shape[0]):
        for d in range(columns.shape[0]):
            minor = numbers[row, columns[d]] * scales[d]
            whole = np.rint(minor)
            if abs(whole - minor) <= 4.0 * np.spacing(abs(minor)):
                numbers[row, columns[d]] = whole / scales[d]


@njit(**_OPTIONS)
def doubtful(numbers, columns, scales, times, latest, arrived, future):
    """Whether a settled table has a decimal with excess digits, or a time out of bounds, anywhere."""
    for row in range(numbers.shape[0]):
        if abs(times[row]) > latest or times[row] > arrived + future:
            return True
        for d in range(columns.shape[0]):
            value = numbers[row, columns[d]]
            if not np.isnan(value) and np.rint(value * scales[d]) / scales[d] != value:
                return True
    return False
