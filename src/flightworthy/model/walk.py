"""Eight walks down a tree at once, as arrays; what they mean is written in `trees`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ZERO = float(np.float32(1e-35))  # up to here a number is zero for LightGBM
FEATURE, UNKNOWN, CHILD = np.uint64(33), np.uint64(32), np.uint64(0xFFFFFFFF)  # bits of a way
_NONE, _ONE, _TWO, _THREE, _FOUR, _FIVE, _SIX, _SEVEN, _EIGHT = (np.uint64(i) for i in range(9))
_OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@njit(inline="always", **_OPTIONS)
def _step(node, row, x, tests, ways):
    way = ways[node]
    v = x[row + (way >> FEATURE)]
    return (way & CHILD) + (np.uint64(v > tests[node]) | (np.uint64(v != v) & (way >> UNKNOWN) & _ONE))  # noqa: PLR0124 - NaN


@njit(inline="always", **_OPTIONS)
def _eight(a, b, c, d, e, f, g, h, row, width, x, tests, ways):
    """The leaves of eight walks, from eight nodes, over rows ``width`` apart. Variables, not an array: they live in registers."""
    while True:
        left = (a, b, c, d, e, f, g, h)
        a = _step(a, row, x, tests, ways)
        b = _step(b, row + width, x, tests, ways)
        c = _step(c, row + width * _TWO, x, tests, ways)
        d = _step(d, row + width * _THREE, x, tests, ways)
        e = _step(e, row + width * _FOUR, x, tests, ways)
        f = _step(f, row + width * _FIVE, x, tests, ways)
        g = _step(g, row + width * _SIX, x, tests, ways)
        h = _step(h, row + width * _SEVEN, x, tests, ways)
        if (a ^ left[0]) | (b ^ left[1]) | (c ^ left[2]) | (d ^ left[3]) \
                | (e ^ left[4]) | (f ^ left[5]) | (g ^ left[6]) | (h ^ left[7]) == _NONE:
            return a, b, c, d, e, f, g, h


@njit(**_OPTIONS)
def walk(given, width, roots, tests, ways, values, sigmoid, out):
    """The answers for rows of ``given`` (rows x width), added to ``out``."""
    x = np.empty_like(given)
    for i in range(given.shape[0]):
        x[i] = 0.0 if -ZERO <= given[i] <= ZERO else given[i]
    n, trees, wide = np.uint64(out.shape[0]), np.uint64(roots.shape[0]) - _SEVEN, np.uint64(width)
    row = _NONE
    while row + _EIGHT <= n:  # eight rows down each tree
        for tree in range(trees):
            t = roots[tree]
            leaves = _eight(t, t, t, t, t, t, t, t, row * wide, wide, x, tests, ways)
            for lane in range(_EIGHT):
                out[row + lane] += values[leaves[lane]]
        row += _EIGHT
    while row < n:  # each row that is left down eight trees; the sum goes tree by tree all the same
        for tree in range(_NONE, trees, _EIGHT):
            leaves = _eight(roots[tree], roots[tree + _ONE], roots[tree + _TWO], roots[tree + _THREE], roots[tree + _FOUR],
                            roots[tree + _FIVE], roots[tree + _SIX], roots[tree + _SEVEN], row * wide, _NONE, x, tests, ways)
            for lane in range(min(_EIGHT, trees - tree)):
                out[row] += values[leaves[lane]]
        row += _ONE
    if sigmoid != 0.0:
        for i in range(out.shape[0]):
            out[i] = 1.0 / (1.0 + math.exp(-sigmoid * out[i]))
