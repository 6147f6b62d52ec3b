"""Verdicts: what rolls back, what advances, and that nothing is neither."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flightworthy.objective.gates import ADVANCE, HOLD, ROLL_BACK, Events, Risk, better, rate_gate, value_gate


def _values(challenger: float, pairs: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 5, (pairs, 2)).astype(float)
    return count * np.array([challenger, 5.0]) + rng.normal(0, 1, (pairs, 2)) * np.sqrt(count), count


def test_silence_and_a_single_event_hold() -> None:
    for verdict in (rate_gate([], 0.1, Risk()), rate_gate([Events(0.1, 0, 0)], 0.1, Risk()), rate_gate([Events(0.1, 1, 1)], 0.1, Risk()),
                    value_gate(np.empty((0, 2)), np.empty((0, 2)), 0.1, Risk()), value_gate([[5, 5]], [[1, 1]], 0.1, Risk()),
                    value_gate([[0, 0]] * 50, [[0, 0]] * 50, 0.1, Risk())):
        assert verdict.state == HOLD
    assert rate_gate([], 0.1, Risk()).needed == math.inf


def test_no_errors_at_all_prove_nothing() -> None:
    """Both arms are silent: perhaps what counts errors is dead."""
    assert rate_gate([Events(0.5, 0, 0)] * 10, 10.0, Risk()).state == HOLD


def test_more_errors_roll_back_and_as_many_advance_in_the_end() -> None:
    assert rate_gate([Events(0.1, 60, 300)], 0.25, Risk()).state == ROLL_BACK
    assert rate_gate([Events(0.1, 30, 300)], 0.25, Risk()).state == HOLD
    done = rate_gate([Events(0.1, 30, 300), Events(0.5, 1500, 3000)], 0.25, Risk())
    assert done.state == ADVANCE
    assert done.interval.low < 1.0 < done.interval.high < 1.25


def test_the_ends_of_the_interval_agree_with_the_verdict() -> None:
    for challenger in (95, 105, 115, 125, 135):
        verdict = rate_gate([Events(0.5, challenger, 200)], 0.25, Risk(0.02, 0.05))
        assert (verdict.state == ROLL_BACK) == (verdict.interval.low > 1.0)
        assert verdict.interval.low < verdict.interval.value < verdict.interval.high
    for worth in (4.5, 4.8, 4.9, 5.0, 5.1):
        verdict = value_gate(*_values(worth, 400), 0.1, Risk(0.02, 0.05))
        assert (verdict.state == ROLL_BACK) == (verdict.interval.high < 0.0)
        if verdict.state != ROLL_BACK:
            assert (verdict.state == ADVANCE) == (verdict.interval.low > -0.1)


def test_a_decision_worth_less_rolls_back_and_units_with_many_decisions_are_no_gain() -> None:
    assert value_gate(*_values(4.7, 500), 0.2, Risk()).state == ROLL_BACK
    assert value_gate(*_values(5.0, 2000), 0.2, Risk()).state == ADVANCE
    count = np.tile([9.0, 1.0], (500, 1))
    assert value_gate(count * 5.0 + np.random.default_rng(2).normal(0, 1, (500, 2)), count, 0.1, Risk()).interval.high > 0


@pytest.mark.parametrize("worth", [4.9, 5.0, 5.1])
def test_it_says_how_much_data_would_decide_if_it_goes_on_like_this(worth: float) -> None:
    value, count = _values(worth, 80)
    verdict = value_gate(value, count, 0.05, Risk())
    assert verdict.state == HOLD
    assert 1.0 < verdict.needed < math.inf
    times = math.ceil(verdict.needed)
    assert value_gate(np.tile(value, (times, 1)), np.tile(count, (times, 1)), 0.05, Risk()).state != HOLD
    times = int(verdict.needed / 1.2)
    assert value_gate(np.tile(value, (times, 1)), np.tile(count, (times, 1)), 0.05, Risk()).state == HOLD


def test_several_gates_share_the_risk_of_a_rollback() -> None:
    assert Risk(0.05, 0.05).of(5) == (pytest.approx(0.01), 0.05)


@pytest.mark.parametrize("tail", ["normal", "lognormal", "cauchy"])
def test_alike_arms_are_rolled_back_less_often_than_said_at_all_looks_together(tail: str) -> None:
    """400 rollouts, 20 looks, units that come in over time; the mean of a Cauchy distribution does not even exist."""
    rng = np.random.default_rng(3)
    draw = {"normal": rng.standard_normal, "lognormal": lambda size: rng.lognormal(0, 2, size), "cauchy": rng.standard_cauchy}[tail]
    value, count, back = np.zeros((400, 200, 2)), np.zeros((400, 200, 2)), np.zeros(400, bool)
    for look in range(1, 21):
        value[:, : 10 * look] += draw((400, 10 * look, 2))
        count[:, : 10 * look] += 1
        back |= better(-value, count, 0.0) >= -math.log(0.05)
    assert back.mean() <= 0.05
