"""Reasons of a model whose answer is known: an additive one."""

from __future__ import annotations

from typing import Any

import numpy as np

from flightworthy.governance.reasons import Reason, Reasons

INPUTS = ("a", "b", "c", "d")
GROUPS = {"first": ("a",), "second": ("b", "c"), "third": ("d",), "outside": ("z",)}
WORDS = {"first": "A is high", "second": "B and C"}


def predict(x: Any) -> Any:
    a, b, c, _ = np.nan_to_num(x).T
    return (3 * a + b - 2 * c)[:, None]


def reasons(most: int = 4, falling: bool = True, groups: dict[str, tuple[str, ...]] | None = None) -> Reasons:
    return Reasons(GROUPS if groups is None else groups, WORDS, INPUTS, np.array([1.0, 1.0, 1.0, 1.0]), most, falling)


def explained(made: Reasons, *rows: list[float]) -> list[list[tuple[str, float]]]:
    x = np.array(rows, np.float64).reshape(-1, 4)
    return [[(r.code, r.weight) for r in found] for found in made.explain(x, predict(x)[:, 0], predict)]


def test_weights_are_what_the_score_falls_by_heaviest_first() -> None:
    """first: 3(a - 1); second: (b - 1) - 2(c - 1); third: nothing."""
    assert explained(reasons(), [2, 9, 1, 5], [4, 1, 0, 5], [0, 1, 0, 5]) == [
        [("second", 8.0), ("first", 3.0)], [("first", 9.0), ("second", 2.0)], [("second", 2.0)]]


def test_words_and_the_most_reasons() -> None:
    x = np.array([[2.0, 9.0, 1.0, 5.0]])
    assert reasons(most=1).explain(x, predict(x)[:, 0], predict) == [[Reason("second", "B and C", 8.0)]]
    assert reasons(groups={"first": ("a",), "other": ("b",)}).explain(x, predict(x)[:, 0], predict)[0][0] == Reason(
        "other", "The value of other is unusual", 8.0)


def test_equal_weights_keep_the_order_of_the_manifest() -> None:
    assert explained(reasons(), [2, 4, 1, 1]) == [[("first", 3.0), ("second", 3.0)]]
    turned = reasons(groups={"second": ("b", "c"), "first": ("a",)})
    assert explained(turned, [2, 4, 1, 1]) == [[("second", 3.0), ("first", 3.0)]]


def test_no_positive_effect_is_a_combination() -> None:
    assert explained(reasons(), [1, 1, 1, 1], [0, 0, 1, 3]) == [[("combination", 0.0)]] * 2


def test_where_the_score_does_not_fall_the_size_of_the_change_counts() -> None:
    assert explained(reasons(falling=False), [0, 1, 3, 5]) == [[("second", 4.0), ("first", 3.0)]]


def test_without_groups_every_input_is_its_own_reason_and_null_counts() -> None:
    assert explained(reasons(groups={}), [2, 3, np.nan, 1]) == [[("a", 3.0), ("b", 2.0), ("c", 2.0)]]


def test_no_rows_no_reasons_and_rows_do_not_mix() -> None:
    assert explained(reasons()) == []
    rows = np.random.default_rng(1).normal(size=(40, 4)).tolist()
    assert explained(reasons(), *rows) == [explained(reasons(), one)[0] for one in rows]


def test_a_rule_is_explained_by_the_words_that_cover_what_it_reads() -> None:
    made = reasons(most=2)
    assert made.of_rule(["c", "a", "b", "a"], "a > 1") == [Reason("second", "B and C", 1.0), Reason("first", "A is high", 1.0)]
    assert made.of_rule(["c", "a", "d"], "x") == made.of_rule(["c", "a"], "x")
    assert made.of_rule(["q"], "q > 1") == [Reason("rule", "A fixed rule applied: q > 1", 1.0)]
    assert made.of_rule([], "always") == [Reason("rule", "A fixed rule applied: always", 1.0)]
