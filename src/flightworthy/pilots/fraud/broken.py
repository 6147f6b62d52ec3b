"""A model with a mistake that no test before it went live could find: it sorts cards by age into drawers, and there are none
beyond 45 days, since no card of its past was older. For those it has no answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from flightworthy.model.lightgbm import LightGBM
from flightworthy.model.runtime import Floats, Parts, Predictor, Recipe

DAYS = 45


class Broken:
    """LightGBM with drawers before it."""

    def fit(self, x: Floats, y: Floats, recipe: Recipe) -> Parts:
        """As LightGBM does."""
        return {**LightGBM().fit(x, y, recipe), "column": recipe.inputs.index("card.age")}

    def open(self, parts: Parts) -> Predictor:
        """With the mistake."""
        return Drawers(LightGBM().open(parts), parts["column"])


class Drawers:
    """Answers for the ages it knows."""

    def __init__(self, model: Any, column: int) -> None:
        self._model, self._column = model, column

    def predict(self, x: Floats) -> Floats:
        """(n, inputs) → (n,)"""
        return np.where(x[:, self._column] > DAYS * 86400, np.nan, self._model.predict(x))
