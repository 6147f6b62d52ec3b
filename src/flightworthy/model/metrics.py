"""How good a model is, with the uncertainty of finite data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metric = Callable[[Floats, Floats, Floats], float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% bootstrap interval; entities are resampled whole, since their events are not independent."""

    value: float
    low: float
    high: float


def roc_auc(y: Floats, score: Floats, weight: Floats) -> float:
    """Weighted area under the ROC curve, ties counted half. NaN when a class is absent."""
    order = np.argsort(score, kind="stable")
    y, score, weight = y[order], score[order], weight[order]
    group = np.r_[0, np.flatnonzero(np.diff(score)) + 1]
    positive = np.add.reduceat(weight * y, group)
    negative = np.add.reduceat(weight * (1 - y), group)
    below = np.cumsum(negative) - negative
    total = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / total) if total > 0 else float("nan")


def average_precision(y: Floats, score: Floats, weight: Floats) -> float:
    """Weighted average precision: precision at each threshold times the recall it adds."""
    order = np.argsort(-score, kind="stable")
    y, score, weight = y[order], score[order], weight[order]
    last = np.r_[np.flatnonzero(np.diff(score)), len(score) - 1]
    hits, seen = np.cumsum(weight * y)[last], np.cumsum(weight)[last]
    total = hits[-1]
    if total == 0:
        return float("nan")
    gained = np.diff(hits, prepend=0.0)
    return float((gained[seen > 0] / total * (hits[seen > 0] / seen[seen > 0])).sum())


def log_loss(y: Floats, score: Floats, weight: Floats) -> float:
    """Mean negative log likelihood."""
    p = np.clip(score, 1e-15, 1 - 1e-15)
    return float(np.average(-(y * np.log(p) + (1 - y) * np.log1p(-p)), weights=weight))


def rmse(y: Floats, score: Floats, weight: Floats) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.average((y - score) ** 2, weights=weight)))


def mae(y: Floats, score: Floats, weight: Floats) -> float:
    """Mean absolute error."""
    return float(np.average(np.abs(y - score), weights=weight))


METRICS: dict[str, dict[str, Metric]] = {
    "binary": {"auc": roc_auc, "average_precision": average_precision, "log_loss": log_loss},
    "regression": {"rmse": rmse, "mae": mae},
}


def estimate(metric: Metric, y: Floats, score: Floats, entities: NDArray[np.int64], seed: int,
             resamples: int = 200) -> Estimate:
    """A metric on held-back rows (n,) with a percentile interval from resampling entities (Efron 1979)."""
    _, member = np.unique(entities, return_inverse=True)
    count = int(member.max()) + 1 if len(member) else 0
    rng = np.random.default_rng(seed)
    draws = [metric(y, score, rng.multinomial(count, np.full(count, 1 / count))[member].astype(np.float64))
             for _ in range(resamples)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Estimate(metric(y, score, np.ones(len(y))), float(low), float(high))
