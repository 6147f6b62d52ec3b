"""Evidence is at most 1 on average while the claim holds: counted out, not simulated."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from flightworthy.objective.evidence import above_ratio, above_zero, below_ratio, scale_of


def _chance(share: float, ratio: float) -> float:
    """That an event falls in the arm with this share of the exposure, when its rate is ``ratio`` times that of the other."""
    return share * ratio / (share * ratio + 1 - share)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.3])
def test_evidence_on_rates_is_one_on_average_at_the_claimed_ratio(share: float, ratio: float) -> None:
    p, n = _chance(share, ratio), 25
    inside = np.arange(n + 1)
    chances = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in inside])
    for evidence in (above_ratio, below_ratio):
        found = evidence(inside[:, None], np.full((n + 1, 1), n), [share], ratio)
        assert float(chances @ np.exp(found)) == pytest.approx(1.0)


def test_evidence_on_rates_is_less_on_average_below_the_claimed_ratio() -> None:
    p, n = _chance(0.3, 0.9), 25
    inside = np.arange(n + 1)
    chances = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in inside])
    assert float(chances @ np.exp(above_ratio(inside[:, None], np.full((n + 1, 1), n), [0.3], 1.0))) < 0.99


def test_one_more_event_changes_evidence_by_nothing_on_average_also_after_the_share_was_raised() -> None:
    before = np.array([7.0, 0.0]), np.array([40.0, 0.0])
    share = np.array([0.1, 0.4])
    inside = math.exp(float(above_ratio(before[0] + [0, 1], before[1] + [0, 1], share)))
    outside = math.exp(float(above_ratio(before[0], before[1] + [0, 1], share)))
    assert 0.4 * inside + 0.6 * outside == pytest.approx(math.exp(float(above_ratio(*before, share))))


def test_a_rate_that_moves_with_the_day_is_no_evidence_but_a_ratio_is() -> None:
    for per_day in (1, 10, 100):
        assert float(above_ratio([10 * per_day], [100 * per_day], [0.1])) < 0
    assert float(above_ratio([14 * 30], [100 * 30], [0.1])) > math.log(1000)
    assert float(below_ratio([7 * 30], [100 * 30], [0.1])) > math.log(1000)


@pytest.mark.parametrize("sizes", [[1.0] * 12, [2.0**i for i in range(12)], [0.0] * 11 + [1e9]])
def test_evidence_on_differences_is_at_most_one_on_average_over_all_signs(sizes: list[float]) -> None:
    """Whatever the sizes: each difference is as likely as its negative."""
    signs = np.array(list(product((-1.0, 1.0), repeat=12)))
    squares = np.square(sizes).sum()
    found = np.exp(above_zero(signs @ np.array(sizes), squares, scale_of(squares, 12)))
    assert 0.3 < float(found.mean()) <= 1.0 + 1e-9


def test_the_mixture_is_close_to_the_half_normal_it_stands_for() -> None:
    for total, squares in ((60.0, 400.0), (0.0, 400.0), (150.0, 900.0), (-40.0, 400.0)):
        c = float(scale_of(400.0, 400))
        normal = 0.5 * math.erfc(-total / math.sqrt(2 * (c + squares)))
        exact = math.log(2 * normal) + 0.5 * math.log(c / (c + squares)) + total**2 / (2 * (c + squares))
        assert float(above_zero(total, squares, c)) == pytest.approx(exact, abs=0.1)
