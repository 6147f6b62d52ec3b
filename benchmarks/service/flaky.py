"""A model for proofs: calm numbers, and for a declared share of rows no answer at all."""

from __future__ import annotations

from typing import Any

import numpy as np


class Flaky:
    """A flavour that is opened, never trained."""

    def fit(self, x: Any, y: Any, recipe: Any) -> dict[str, Any]:
        """Nothing is learned."""
        raise NotImplementedError("this flavour is made by a benchmark")

    def open(self, parts: dict[str, Any]) -> Answers:
        """``parts``: the ``share`` of rows that get no answer."""
        return Answers(float(parts["share"]))


class Answers:
    """Which rows get none depends on their numbers alone."""

    def __init__(self, share: float) -> None:
        self._share = share

    def predict(self, x: Any) -> Any:
        """(n, inputs) → (n,)"""
        mixed = np.nansum(x * np.sqrt(np.arange(2.0, x.shape[1] + 2)), axis=1) * 997.13
        return np.where(np.abs(mixed - np.floor(mixed)) < self._share, np.nan, 0.02)
