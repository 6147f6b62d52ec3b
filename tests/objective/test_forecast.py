"""What a rollout would do: forecasts that agree with the gates they are made from, and with what was measured on a running service."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from flightworthy.objective.forecast import PROMOTED, ROLLED_BACK, UNDECIDED, Plan, Traffic, lift, outcome
from flightworthy.objective.gates import Risk


def traffic(days: int = 30, entities: int = 400, a_day: int = 800, label: bool = True) -> Traffic:
    rng = np.random.default_rng(2)
    n = days * a_day
    bad = (rng.random(n) < 0.05).astype(float)
    over = np.where(bad == 1, rng.exponential(20, n), np.where(rng.random(n) < 0.05, -2.0, 0.0)) * (rng.random(n) < 0.5)
    return Traffic(np.repeat(np.arange(days), a_day), rng.integers(entities, size=n), over - 1, over,
                   bad if label else np.full(n, math.nan), days, 0.0)


PLAN = Plan([0.0, 0.1, 0.3], 100, 3, 5, 60, 0.0, 0.001, Risk(), counterfactual=True)


def test_better_is_promoted_worse_rolled_back_and_the_same_neither() -> None:
    rng = np.random.default_rng(1)
    better, same, worse = (outcome(traffic(), PLAN, change, 15, rng) for change in (0.5, 0.0, -0.5))
    assert better.ends[PROMOTED] == 1.0 and better.worth_more > 0 and 12 <= better.days < 40
    assert worse.ends[ROLLED_BACK] == 1.0 and worse.worth_more <= 0
    assert same.ends == {PROMOTED: 0.0, ROLLED_BACK: 0.0, UNDECIDED: 1.0} and same.days == 60 and same.worth_more == 0
    assert same.decisions > better.decisions > worse.decisions


def test_arms_take_more_than_both_models_on_the_same_decisions() -> None:
    rng = np.random.default_rng(1)
    arms = outcome(traffic(), replace(PLAN, counterfactual=False, most=40), -0.5, 10, rng)
    twins = outcome(traffic(label=False), replace(PLAN, most=40), -0.5, 10, rng)
    assert twins.ends[ROLLED_BACK] == 1.0 and arms.ends[ROLLED_BACK] < 1.0
    assert sum(arms.ends.values()) == pytest.approx(1)


def test_larger_lifts_are_found_sooner_and_a_shadow_harms_nobody() -> None:
    rng = np.random.default_rng(1)
    small, large = (lift(0.1, 0.002, more, 0.02, 100, rng) for more in (0.01, 0.2))
    assert small.found == large.found == 1.0 and small.decisions > 5 * large.decisions and 2 < large.harmful < 10
    shadow = lift(0.0, 0.002, 0.05, 0.02, 100, rng)
    assert shadow.harmful == 0 and shadow.found == 1.0
    none = lift(0.1, 0.01, 0.0, 0.02, 200, rng)
    assert none.found <= 0.06  # the risk is 0.02
