"""The gate on the same decisions: what it takes before it says anything, and how often it is wrong where gains are rare and large."""

from __future__ import annotations

import math

import pytest
from benchmarks.gates.twins import TWINS, same

from flightworthy.objective.counterfactual import FEWEST_MOVED, Moved, counterfactual_gate
from flightworthy.objective.gates import ADVANCE, HOLD, ROLL_BACK, Risk


def told(gains: int, losses: int, gain: float = 50.0, loss: float = 2.0) -> Moved:
    moved = Moved()
    for label, worth, count in ((True, gain, gains), (False, -loss, losses)):
        for _ in range(count):
            moved.add(worth, label, gain + loss)
    return moved


def entities(each: float, count: int = 2000) -> dict[str, list[float]]:
    return {f"c{i}": [10.0, each + (1.0 if i % 2 else -1.0)] for i in range(count)}


def test_nothing_is_said_without_decisions_or_before_enough_differ() -> None:
    none = counterfactual_gate({}, 0, Moved(), 0.0, Risk())
    assert none.state == HOLD and math.isinf(none.needed)
    few = counterfactual_gate(entities(0.5), 29, told(100, 1000), 0.0, Risk())
    assert few.state == HOLD and few.interval.low == -math.inf
    rare = counterfactual_gate(entities(-0.5), 2000, told(FEWEST_MOVED - 1, 1000), 0.0, Risk())
    assert rare.state == HOLD and math.isinf(rare.interval.high)
    assert counterfactual_gate(entities(-0.5), 2000, told(FEWEST_MOVED, 1000), 0.0, Risk()).state == ROLL_BACK


def test_it_is_worse_only_once_no_gain_makes_up_much_of_all_gains() -> None:
    moved = told(FEWEST_MOVED, 1000)
    moved.add(50.0 * FEWEST_MOVED, True, 0.0)  # one that is half of all: more such may come
    verdict = counterfactual_gate(entities(-0.5), 2000, moved, 0.0, Risk())
    assert verdict.state == HOLD and verdict.interval.high == math.inf and math.isfinite(verdict.interval.low)
    better = counterfactual_gate(entities(0.5), 2000, moved, 0.0, Risk())
    assert better.state == ADVANCE  # large gains do not overturn that it is fine
    assert moved.seen(gains=False, deviation=0.0, beyond=0.0) and not moved.seen(gains=True, deviation=0.0, beyond=0.0)
    assert moved.seen(gains=True, deviation=1e6, beyond=0.0)  # beside such a spread it is nothing
    assert moved.seen(gains=True, deviation=0.0, beyond=20 * 50.0 * FEWEST_MOVED)  # nor beside such a verdict


def test_the_variance_is_at_least_what_labels_make_it() -> None:
    moved = told(50, 950)
    chance = 51 / 1002
    assert moved.least_variance == pytest.approx(1000 * 52.0**2 * chance * (1 - chance))
    calm = {f"c{i}": [10.0, -0.5] for i in range(2000)}  # what was seen varies not at all
    verdict = counterfactual_gate(calm, 2000, moved, 0.0, Risk())
    assert verdict.interval.high > verdict.interval.value


def test_shards_are_put_together() -> None:
    one, other = told(10, 20), told(30, 40, gain=70.0)
    one.merge(other)
    assert one.cases == {True: 40, False: 60} and one.sides[True] == [10 * 50.0 + 30 * 70.0, 70.0]
    assert one.spans[True][:2] == [100, 40]


def test_a_loss_that_is_allowed_is_fine() -> None:
    apart, moved = entities(-0.02), told(100, 1000)
    assert counterfactual_gate(apart, 2000, moved, 0.0, Risk()).state != ADVANCE
    assert counterfactual_gate(apart, 2000, moved, 0.5, Risk()).state == ADVANCE


@pytest.mark.slow
def test_models_that_are_worth_the_same_are_left_alone() -> None:
    wrong = [same(kind, 3, Risk()) for kind in TWINS[:1] + TWINS[3:4]]
    assert sum(w["rolled_back"] + w["advanced"] for w in wrong) <= 6  # of 50 pairs of rollouts; the spread alone is wrong in more
    assert sum(w["naive"] for w in wrong) >= 3
