"""The language of manifests: what is let through, and that two ways of computing agree."""

from __future__ import annotations

import math
import operator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightworthy.ground.clock import micros
from flightworthy.manifest.expressions import (
    BOOLEAN,
    NUMBER,
    TIME,
    Expr,
    ExpressionError,
    category,
    evaluate,
    machine,
    names,
    parse,
)
from flightworthy.manifest.expressions.tree import Call

WORDS = ("x", "y", "z")
SCOPE = {"a": NUMBER, "b": NUMBER, "g.n_1d": NUMBER, "flag": BOOLEAN, "c": category(WORDS), "t": TIME}
COLUMNS = {name: i for i, name in enumerate(SCOPE)}
WIDTH = len(SCOPE)


def compiled(tree: Expr, rows: list[dict[str, Any]]) -> Any:
    """The result column of a batch."""
    frame = np.full((len(rows), WIDTH + 1), np.nan)
    for i, row in enumerate(rows):
        frame[i, :WIDTH] = [number(row[name]) for name in SCOPE]
    machine.Programs([(tree, WIDTH)], COLUMNS).run(frame)
    return frame[:, WIDTH]


def number(value: Any) -> float:
    """What a value is in a frame."""
    if value is None:
        return math.nan
    if isinstance(value, datetime):
        return float(micros(value))
    return float(WORDS.index(value)) if isinstance(value, str) else float(value)


def row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(SCOPE) | values


def one(text: str, **values: Any) -> float:
    return float(compiled(parse(text, SCOPE), [row(**values)])[0])


@pytest.mark.parametrize(("text", "offset", "says", "hint"), [
    ("a + amuont", 4, "unknown name 'amuont'", ""), ("a + g.n_1", 4, "unknown name 'g.n_1'", "did you mean 'g.n_1d'?"),
    ("a >", None, "not an expression", ""), ("", None, "not an expression", ""), ("a + flag", 4, "'flag' is boolean", ""),
    ("sqr(a)", 0, "unknown function 'sqr'", "did you mean 'sqrt'?"), ("c == 'q'", 0, "'q' is not one of", "known: x, y, z"),
    ("c < 'x'", 0, "has no order", ""), ("a == flag", 0, "mixes number and boolean", ""), ("True", 0, "write true", ""),
    ("abs(a, b)", 0, "abs() takes 1 argument", ""), ("min(a)", 0, "min() takes 2 arguments", ""), ("a ** 2", 0, "only + - * /", ""),
    ("a % 2", 0, "only + - * /", ""), ("a // 2", 0, "only + - * /", ""), ("a if flag else c", 0, "mixes number", ""),
    ("hour(a)", 5, "expected time", ""), ("1e400 + a", 0, "not a plain number", ""), ("0x10", 0, "not a plain number", ""),
    ("a in (1, 2)", 0, "compare with", ""), ("a is null", 0, "compare with", ""), ("~a", 0, "not part of", ""),
    ("  a + zz", 6, "unknown name 'zz'", ""),
])
def test_a_mistake_says_where_and_what(text: str, offset: int | None, says: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, SCOPE)
    assert says in str(caught.value)
    assert offset is None or caught.value.offset == offset
    assert caught.value.hint == hint or not hint


def test_an_offset_counts_characters_not_bytes() -> None:
    scope = {"c": category(("é", "x")), "a": NUMBER}
    with pytest.raises(ExpressionError) as caught:
        parse("c == 'é' or zz > 1", scope)
    assert caught.value.offset == 12


@pytest.mark.parametrize("text", [
    "().__class__", "a.__class__.__bases__", "__import__('os')", "(lambda: 1)()", "[x for x in (1,)]", "{a: 1}", "{a}", "(a, b)", "[a]",
    "(q := 1)", "f'{a}'", "c == 'x' 'y'", "a[0]", "2 ** 2 ** 99", "9 ** 9 ** 9", "*a", "min(*a, b)", "abs(x=a)", "abs.__call__(a)", "1j",
    "b'x'", "...", "None", "True", "a; b", "a = 1", "yield a", "await a", "a @ b", "a << 2", "a & b", "not a", "flag + flag", "-flag",
    "a if b else a", "a and b", "min(flag, flag)", "coalesce(a, flag)", "'x' == 'x'", "'x' if flag else 'y'", "is_null('x')",
    "coalesce('x', 'y') == c", "'x' == null", "hour('x')", "1e99999999", "1e-99999999999999999999", "0x1F", "0b1", "1 2", "a b",
    "(" * 300 + "a" + ")" * 300, "-" * 60 + "a", "+".join(["a"] * 50), "a+" * 2500 + "a", "9" * 5000, "é.ü.ö", "a\x00", "g.n_1d.real",
    "abs", "min", "a.b(1)", "eval('1')", "a == b is flag", "a not in b", "lambda: a", "a # c\n)", "exp()", "a if flag", "a else b",
])
def test_nothing_beyond_the_language_is_accepted(text: str) -> None:
    """An `ExpressionError`, never another exception, never a tree that cannot be compiled."""
    with pytest.raises(ExpressionError):
        parse(text, SCOPE)


def stack(tree: Expr) -> int:
    """Places a program needs on the machine's stack."""
    return max(i + stack(arg) for i, arg in enumerate(tree.args)) if isinstance(tree, Call) else 1


@pytest.mark.parametrize("text", [
    reduce(lambda inner, k: f"{k} if a > {k} else ({inner})", range(38), "0"),
    reduce(lambda inner, k: f"a + ({inner})", range(38), "0"),
    reduce(lambda inner, k: f"flag or ({inner})", range(38), "flag"),
])
def test_the_deepest_accepted_expression_fits_the_stack(text: str) -> None:
    """The machine does not check its bounds: a tree that needs more would write beyond the stack."""
    try:
        tree = parse(text, SCOPE)
    except ExpressionError:
        return
    assert stack(tree) == machine.depth(tree)


def test_chained_comparisons_do_not_grow_beyond_measure() -> None:
    """A few hundred characters must not become millions of nodes."""
    text = reduce(lambda inner, _: f"true == ({inner}) == true", range(13), "a > 1")

    def size(tree: Expr) -> int:
        return 1 + sum(map(size, tree.args)) if isinstance(tree, Call) else 1

    try:
        assert size(parse(text, SCOPE)) < 5_000
    except ExpressionError:
        return


def test_names_in_order_and_expected_types() -> None:
    assert list(names(parse("a + g.n_1d * a if flag else b", SCOPE))) == ["flag", "a", "g.n_1d", "a", "b"]
    with pytest.raises(ExpressionError, match="expected boolean, this is number"):
        parse("a", SCOPE, BOOLEAN)


@pytest.mark.parametrize(("text", "expected"), [
    ("a / 0", None), ("a + null", None), ("null < 1", 0.0), ("null == null", 0.0), ("null != 1", 0.0), ("not null", 1.0),
    ("null and true", 0.0), ("null or true", 1.0), ("1 if null else 2", 2.0), ("coalesce(null, 3)", 3.0), ("coalesce(null, b, 4)", 4.0),
    ("is_null(b)", 1.0), ("is_null(a)", 0.0), ("min(a, null)", None), ("max(a, 7, 3)", 7.0), ("-a", -5.0), ("+a", 5.0),
    ("1 < a < 6", 1.0), ("1 < a < 5", 0.0), ("6 > a != 4", 1.0), ("sqrt(0 - a)", None), ("log(0)", None), ("sqrt(a - 1)", 2.0),
    ("floor(-0.5)", -1.0), ("ceil(-0.5)", 0.0), ("abs(-a)", 5.0), ("exp(1000)", None), ("c == 'y'", 1.0), ("'z' == c", 0.0),
    ("c != 'x'", 1.0), ("1_000 + a", 1005.0), ("a if c == 'y' else b", 5.0), ("flag == true", 0.0), ("not flag", 1.0),
])
def test_values_and_nulls(text: str, expected: float | None) -> None:
    """Both ways of computing, on one row: a = 5, c = y, the rest null."""
    found = one(text, a=Decimal(5), c="y")
    assert math.isnan(found) if expected is None else found == expected
    exact = evaluate(parse(text, SCOPE), row(a=Decimal(5), c="y"))
    assert exact is None if expected is None else float(exact) == expected  # type: ignore[arg-type]


@given(st.datetimes(datetime(1800, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds must be naive
def test_hours_and_weekdays_agree_with_the_calendar(moment: datetime) -> None:
    assert (one("hour(t)", t=moment), one("weekday(t)", t=moment)) == (moment.hour, moment.weekday())


def test_exact_keeps_34_digits_and_never_overflows() -> None:
    low, high = Decimal("-1234567890123456789012345678901.25"), Decimal("1234567890123456789012345678901.25")
    assert evaluate(parse("-a", SCOPE), row(a=low)) == high
    assert evaluate(parse("abs(a)", SCOPE), row(a=low)) == high
    assert evaluate(parse("0.1 + 0.2 == 0.3", SCOPE), {}) is True
    assert evaluate(parse("exp(a)", SCOPE), row(a=Decimal(10**7))) is None


# Numbers are small multiples of a quarter and divisors powers of two, so that both ways are exact and branches agree.
NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "g.n_1d", "null", "0", "1", "2.5", "0.25", "hour(t)", "weekday(t)"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner), st.builds("(-{})".format, inner),
        st.builds("({} / {})".format, inner, st.sampled_from(["2", "4", "0.5", "0", "null"])),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max", "coalesce"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "floor", "ceil"]), inner),
        st.builds("({} if {} else {})".format, inner, st.deferred(lambda: BOOLEANS), inner)), max_leaves=5)
BOOLEANS = st.recursive(
    st.one_of(st.sampled_from(["flag", "true", "false", "(c == 'x')", "(c != 'z')", "is_null(c)", "is_null(flag)", "(t > t)", "(t == t)"]),
              st.builds("({} {} {})".format, st.sampled_from(["a", "b", "1"]), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
                        st.sampled_from(["b", "a", "2.5", "a * b"]))),
    lambda inner: st.one_of(st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "==", "!="]), inner),
                            st.builds("(not {})".format, inner)), max_leaves=4)
QUARTERS = st.none() | st.integers(-16, 16).map(lambda n: Decimal(n) / 4)
ROWS = st.lists(st.fixed_dictionaries({
    "a": QUARTERS, "b": QUARTERS, "g.n_1d": QUARTERS, "flag": st.none() | st.booleans(), "c": st.none() | st.sampled_from(WORDS),
    "t": st.none() | st.integers(-(10**9), 10**9).map(lambda s: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s))}),
    min_size=1, max_size=6)


@settings(max_examples=200)
@given(st.one_of(NUMBERS, BOOLEANS), ROWS)
def test_a_batch_equals_its_rows_bit_for_bit_and_the_exact_value(text: str, rows: list[dict[str, Any]]) -> None:
    try:
        tree = parse(text, SCOPE)
    except ExpressionError as error:  # the only refusals such a text can meet
        assert "nested" in str(error) or "null" in str(error)
        return
    batch = compiled(tree, rows)
    alone = np.concatenate([compiled(tree, [one_row]) for one_row in rows])
    assert batch.view(np.uint64).tolist() == alone.view(np.uint64).tolist()
    for found, values in zip(batch.tolist(), rows, strict=True):
        exact = number(evaluate(tree, values))
        assert (math.isnan(found) and math.isnan(exact)) or math.isclose(found, exact, rel_tol=1e-9), (text, values)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["*", "/"]), st.decimals(-1000, 1000, places=2)), min_size=1, max_size=8),
       st.decimals(-1000, 1000, places=2))
def test_products_and_quotients_agree_to_nine_digits(steps: list[tuple[str, Decimal]], start: Decimal) -> None:
    tree = parse("a " + " ".join(f"{op} ({value})" for op, value in steps), SCOPE)
    exact = number(evaluate(tree, row(a=start)))
    found = float(compiled(tree, [row(a=start)])[0])
    assert (math.isnan(found) and math.isnan(exact)) or math.isclose(found, exact, rel_tol=1e-9)
    plain = {"*": operator.mul, "/": operator.truediv}
    if all(value != 0 for _, value in steps):
        assert found == reduce(lambda x, step: plain[step[0]](x, float(step[1])), steps, float(start))
