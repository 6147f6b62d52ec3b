"""Intervals and effects against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flightworthy.objective.effect import FEWEST_CASES, Groups, against_baseline, decisions, fewest, per_decision
from flightworthy.objective.sequences import asymptotic


def test_the_sequence_covers_at_every_look() -> None:
    """600 streams, looked at 60 times each from 100 to 5,000 values: misses at any look stay below 5%."""
    rng = np.random.default_rng(2)
    values = rng.exponential(1.0, (600, 5000))
    sums, squares = values.cumsum(axis=1), (values**2).cumsum(axis=1)
    missed = np.zeros(600, bool)
    naive = np.zeros(600, bool)
    for n in np.unique(np.geomspace(100, 5000, 60).astype(int)):
        mean, var = sums[:, n - 1] / n, squares[:, n - 1] / n - (sums[:, n - 1] / n) ** 2
        for i in range(600):
            interval = asymptotic(mean[i], math.sqrt(var[i]), n)
            missed[i] |= not interval.low <= 1.0 <= interval.high
            naive[i] |= abs(mean[i] - 1.0) > 1.96 * math.sqrt(var[i] / n)
    assert missed.mean() <= 0.05
    assert naive.mean() > 0.15


def test_too_little_data_gives_no_bound() -> None:
    assert asymptotic(1.0, 1.0, 1).high == math.inf
    assert per_decision(Groups()).low == -math.inf
    assert against_baseline(Groups()).high == math.inf
    one = Groups()
    one.add(False, "a", 1.0, 0.0)
    one.add(True, "b", 0.0, 0.0)
    assert per_decision(one).low == -math.inf


def test_rare_losses_must_have_been_seen_before_an_interval_is_given() -> None:
    """Where one decision in a hundred loses a lot, a group without losses looks as if there were none to come."""
    groups = Groups()
    for i in range(9_000):
        groups.add(i % 10 == 0, str(i), -100.0 if i % 99 == 0 else 1.0, 0.0, i % 99 == 0)
    assert fewest(groups) == 10
    assert per_decision(groups).low == -math.inf
    assert math.isfinite(per_decision(groups).value)
    assert math.isfinite(against_baseline(groups).low)  # the treated have had 81
    for i in range(9_000, 60_000):
        groups.add(i % 10 == 0, str(i), -100.0 if i % 99 == 0 else 1.0, 0.0, i % 99 == 0)
    assert (fewest(groups) or 0) >= FEWEST_CASES
    assert per_decision(groups).low < 0.0 < per_decision(groups).high < 10.0


def test_effects_are_per_decision_and_clustered_by_entity() -> None:
    rng = np.random.default_rng(3)
    groups = Groups()
    for entity in range(3000):
        held, own = bool(entity % 5 == 0), rng.normal(0, 2)
        for _ in range(int(rng.integers(1, 8))):
            groups.add(held, str(entity), own + (0.0 if held else 0.5) + rng.normal(), own)
    effect, paired = per_decision(groups), against_baseline(groups)
    assert effect.low < 0.5 < effect.high
    assert paired.low < 0.5 < paired.high
    assert paired.high - paired.low < effect.high - effect.low
    assert decisions(groups.treated) > decisions(groups.holdout) > 0
    assert effect.value == pytest.approx(0.5, abs=0.4)
