"""Measures equal scikit-learn's; intervals hold their value and never change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightworthy.model.metrics import METRICS, average_precision, estimate, log_loss, mae, rmse, roc_auc

sklearn_metrics = pytest.importorskip("sklearn.metrics")

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 4)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _, _ in rows}) == 2)


@settings(max_examples=100)
@given(ROWS)
def test_ranking_measures_with_weights_and_ties(rows: list[tuple[bool, int, int]]) -> None:
    y, score, weight = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    assert math.isclose(roc_auc(y, score, weight), sklearn_metrics.roc_auc_score(y, score, sample_weight=weight), abs_tol=1e-12)
    assert math.isclose(average_precision(y, score, weight),
                        sklearn_metrics.average_precision_score(y, score, sample_weight=weight), abs_tol=1e-12)


def test_measures_of_errors_with_weights() -> None:
    rng = np.random.default_rng(1)
    y, p, weight = (rng.random(500) < 0.3).astype(float), rng.random(500), rng.integers(1, 5, 500).astype(float)
    assert math.isclose(log_loss(y, p, weight), sklearn_metrics.log_loss(y, p, sample_weight=weight), rel_tol=1e-12)
    assert math.isclose(rmse(y, p, weight) ** 2, sklearn_metrics.mean_squared_error(y, p, sample_weight=weight), rel_tol=1e-12)
    assert math.isclose(mae(y, p, weight), sklearn_metrics.mean_absolute_error(y, p, sample_weight=weight), rel_tol=1e-12)
    assert math.isfinite(log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.ones(2)))


def test_rows_of_weight_zero_do_not_count_and_one_class_has_no_ranking() -> None:
    rng = np.random.default_rng(2)
    y, score = (rng.random(200) < 0.4).astype(float), rng.integers(0, 9, 200).astype(float)
    weight = rng.integers(0, 2, 200).astype(float)
    for metric in (roc_auc, average_precision):
        kept = weight > 0
        assert math.isclose(metric(y, score, weight), metric(y[kept], score[kept], weight[kept]), rel_tol=1e-12)
    assert math.isnan(roc_auc(np.ones(3), np.arange(3.0), np.ones(3)))
    assert math.isnan(average_precision(np.zeros(3), np.arange(3.0), np.ones(3)))


@pytest.mark.parametrize("objective", ["binary", "regression"])
def test_an_interval_holds_its_value_and_is_repeatable(objective: str) -> None:
    rng = np.random.default_rng(3)
    score = rng.random(600)
    y = (rng.random(600) < score).astype(float)
    entities = rng.integers(0, 60, 600)
    for metric in METRICS[objective].values():
        found = estimate(metric, y, score, entities, seed=5)
        assert found.low < found.value < found.high
        assert found == estimate(metric, y, score, entities, seed=5)
        assert found != estimate(metric, y, score, entities, seed=6)
        assert found.value == metric(y, score, np.ones(600))


def test_entities_are_resampled_whole() -> None:
    """Hundred copies of ten events say no more than the ten."""
    rng = np.random.default_rng(4)
    y, score = np.tile(np.array([0.0, 1.0] * 10), 50), np.tile(rng.random(20), 50)
    whole = estimate(mae, y, score, np.tile(np.arange(20), 50), seed=1)
    alone = estimate(mae, y, score, np.arange(1000), seed=1)
    assert whole.high - whole.low > 4 * (alone.high - alone.low)
