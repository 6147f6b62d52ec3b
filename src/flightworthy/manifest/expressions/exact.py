"""Exact evaluation with decimals, for money: one decision at a time, no binary fraction anywhere."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from flightworthy.ground.money import CONTEXT
from flightworthy.manifest.expressions.tree import Call, Const, Expr, Name

Value = Decimal | bool | str | datetime | None

_ARITHMETIC: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "add": CONTEXT.add, "sub": CONTEXT.subtract, "mul": CONTEXT.multiply, "min": min, "max": max}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne}
_ONE: dict[str, Callable[[Decimal], Decimal]] = {
    "neg": CONTEXT.minus, "abs": CONTEXT.abs, "sqrt": CONTEXT.sqrt, "log": CONTEXT.ln, "exp": CONTEXT.exp,
    "floor": lambda x: x.to_integral_value(ROUND_FLOOR, CONTEXT), "ceil": lambda x: x.to_integral_value(ROUND_CEILING, CONTEXT)}
_TIME: dict[str, Callable[[datetime], int]] = {"hour": lambda t: t.hour, "weekday": lambda t: t.weekday()}


def evaluate(tree: Expr, values: Mapping[str, Value]) -> Value:
    """Value of an expression; numbers are `Decimal` (34 digits), times are aware `datetime` in UTC.

    The same rules for null as the compiled form: it spreads through arithmetic and is false in comparisons.

    >>> from flightworthy.manifest.expressions import parse, NUMBER
    >>> evaluate(parse("0.9 * amount - 4", {"amount": NUMBER}), {"amount": Decimal("10.10")})
    Decimal('5.090')
    """
    if isinstance(tree, Const):
        return tree.value
    if isinstance(tree, Name):
        return values.get(tree.name)
    return _call(tree, values)


def _call(tree: Call, values: Mapping[str, Value]) -> Value:
    op = tree.op
    if op == "select":
        return evaluate(tree.args[1] if evaluate(tree.args[0], values) is True else tree.args[2], values)
    if op == "and":
        return all(evaluate(arg, values) is True for arg in tree.args)
    if op == "or":
        return any(evaluate(arg, values) is True for arg in tree.args)
    args: list[Any] = [evaluate(arg, values) for arg in tree.args]
    if op == "not":
        return args[0] is not True
    if op == "is_null":
        return args[0] is None
    if op == "coalesce":
        chosen: Value = args[0] if args[0] is not None else args[1]
        return chosen
    if op in _COMPARE:
        return None not in args and _COMPARE[op](*args)
    return None if None in args else _number(op, args)


def _number(op: str, args: list[Any]) -> Decimal | None:
    if op == "div":
        return CONTEXT.divide(*args) if args[1] != 0 else None
    if op in _ARITHMETIC:
        return _ARITHMETIC[op](*args)
    if op in _TIME:
        return Decimal(_TIME[op](args[0]))
    if op == "exp" and args[0] >= 709:  # as the compiled form: beyond the range of a double
        return None
    if (op == "sqrt" and args[0] < 0) or (op == "log" and args[0] <= 0):
        return None
    return _ONE[op](args[0])
