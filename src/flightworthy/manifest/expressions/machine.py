"""Expressions over a frame of numbers, compiled to a stack program that one small machine runs row by row.

A batch of one and a batch of a million go through the same scalar instructions, so they give equal bits. Null is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightworthy.manifest.expressions.tree import Call, Const, Expr, Name

_OPS = ("const", "load", "add", "sub", "mul", "div", "neg", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not",
        "select", "min", "max", "abs", "floor", "ceil", "sqrt", "log", "exp", "hour", "weekday", "coalesce", "is_null")
_CODE = {name: code for code, name in enumerate(_OPS)}


class Programs:
    """Compiled expressions; each writes one column of a float64 frame of shape (rows, columns), in the order given."""

    def __init__(self, expressions: Sequence[tuple[Expr, int]], columns: Mapping[str, int]) -> None:
        code: list[tuple[int, int]] = []
        consts: list[float] = []
        starts = [0]
        for tree, _ in expressions:
            _emit(tree, columns, code, consts)
            starts.append(len(code))
        self._code = np.array(code, dtype=np.int64).reshape(-1, 2)
        self._consts = np.array(consts or [0.0], dtype=np.float64)
        self._starts = np.array(starts, dtype=np.int64)
        self._depth = max((depth(tree) for tree, _ in expressions), default=1)
        self._targets = np.array([target for _, target in expressions], dtype=np.int64)

    def run(self, frame: NDArray[np.float64]) -> None:
        """Fill the target columns of every row, in place."""
        if len(self._targets):
            _run(self._code, self._consts, self._starts, self._targets, frame, self._depth)


def depth(tree: Expr) -> int:
    """Places on the stack an expression needs."""
    if not isinstance(tree, Call):
        return 1
    return max(i + depth(arg) for i, arg in enumerate(tree.args))


def code_of(tree: Const) -> float:
    """The number a literal stands for in a frame: categories are the index of their word, null is NaN."""
    if tree.value is None:
        return math.nan
    if isinstance(tree.value, str):
        return float(tree.type.values.index(tree.value))
    return float(tree.value)


def _emit(tree: Expr, columns: Mapping[str, int], code: list[tuple[int, int]], consts: list[float]) -> None:
    if isinstance(tree, Const):
        code.append((_CODE["const"], len(consts)))
        consts.append(code_of(tree))
    elif isinstance(tree, Name):
        code.append((_CODE["load"], columns[tree.name]))
    elif isinstance(tree, Call):
        for arg in tree.args:
            _emit(arg, columns, code, consts)
        code.append((_CODE[tree.op], 0))


@njit(cache=True, nogil=True, error_model="numpy")
def _run(code, consts, starts, targets, frame, depth):
    stack = np.empty(depth)
    for row in range(frame.shape[0]):
        for p in range(targets.shape[0]):
            top = -1
            for i in range(starts[p], starts[p + 1]):
                top = _step(code[i, 0], code[i, 1], consts, frame, row, stack, top)
            frame[row, targets[p]] = stack[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _step(op, arg, consts, frame, row, stack, top):
    if op == 0:
        stack[top + 1] = consts[arg]
        return top + 1
    if op == 1:
        stack[top + 1] = frame[row, arg]
        return top + 1
    if op == 6 or op == 15 or 19 <= op <= 26 or op == 28:
        stack[top] = _unary(op, stack[top])
        return top
    if op == 16:
        stack[top - 2] = stack[top - 1] if stack[top - 2] == 1.0 else stack[top]
        return top - 2
    stack[top - 1] = _binary(op, stack[top - 1], stack[top])
    return top - 1


@njit(cache=True, nogil=True, error_model="numpy")
def _binary(op, a, b):
    if op == 2:
        return a + b
    if op == 3:
        return a - b
    if op == 4:
        return a * b
    if op == 5:
        return math.nan if b == 0.0 else a / b
    if op == 13:
        return 1.0 if a == 1.0 and b == 1.0 else 0.0
    if op == 14:
        return 1.0 if a == 1.0 or b == 1.0 else 0.0
    if op == 27:
        return b if math.isnan(a) else a
    if op == 17 or op == 18:
        if math.isnan(a) or math.isnan(b):
            return math.nan
        return (min(a, b)) if op == 17 else (max(a, b))
    return 1.0 if _compare(op, a, b) else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(op, a, b):
    if math.isnan(a) or math.isnan(b):
        return False
    if op == 7:
        return a < b
    if op == 8:
        return a <= b
    if op == 9:
        return a > b
    if op == 10:
        return a >= b
    if op == 11:
        return a == b
    return a != b


@njit(cache=True, nogil=True, error_model="numpy")
def _unary(op, a):
    if op == 28:
        return 1.0 if math.isnan(a) else 0.0
    if op == 15:
        return 0.0 if a == 1.0 else 1.0
    if math.isnan(a):
        return a
    if op == 6:
        return -a
    if op == 19:
        return abs(a)
    if op == 20:
        return float(np.floor(a))
    if op == 21:
        return float(np.ceil(a))
    if op == 22:
        return math.sqrt(a) if a >= 0.0 else math.nan
    if op == 23:
        return math.log(a) if a > 0.0 else math.nan
    if op == 24:
        return math.exp(a) if a < 709.0 else math.nan
    if op == 25:
        return float((np.int64(a) // 3_600_000_000) % 24)
    # 1970-01-01 was a Thursday; Monday is 0.
    return float((np.int64(a) // 86_400_000_000 + 3) % 7)
