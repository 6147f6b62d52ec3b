"""The Handbook's random forest and its XGBoost, as flavours of a pilot. A forest is kept as what it was trained on: it is
grown again, from the same numbers and seed, when it is opened."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import numpy as np


class Forest:
    """scikit-learn's default random forest."""

    def fit(self, x: Any, y: Any, recipe: Any) -> dict[str, Any]:
        """What it is grown from."""
        return {"x": base64.b64encode(np.ascontiguousarray(x, "<f8").tobytes()).decode(), "width": x.shape[1],
                "y": base64.b64encode(np.asarray(y, np.uint8).tobytes()).decode(), "seed": recipe.seed}

    def open(self, parts: dict[str, Any]) -> Grown:
        """Grown again."""
        return Grown(_forest(parts["x"], parts["width"], parts["y"], parts["seed"]))


@lru_cache(4)
def _forest(x: str, width: int, y: str, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    rows = np.frombuffer(base64.b64decode(x), "<f8").reshape(-1, width)
    return RandomForestClassifier(random_state=seed, n_jobs=2).fit(rows, np.frombuffer(base64.b64decode(y), np.uint8))


class Boosted:
    """XGBoost with the parameters that the Handbook's model selection ends with."""

    def fit(self, x: Any, y: Any, recipe: Any) -> dict[str, Any]:
        """Trees of depth 9, fifty of them."""
        from xgboost import XGBClassifier

        model = XGBClassifier(n_estimators=50, max_depth=9, learning_rate=0.1, random_state=recipe.seed, n_jobs=1)
        model.fit(x, y)
        return {"booster": base64.b64encode(model.get_booster().save_raw("json")).decode()}

    def open(self, parts: dict[str, Any]) -> Trees:
        """From its JSON."""
        from xgboost import Booster

        booster = Booster({"nthread": 1})
        booster.load_model(bytearray(base64.b64decode(parts["booster"])))
        return Trees(booster)


class Grown:
    """Answers of a forest."""

    def __init__(self, model: Any) -> None:
        self._model = model
        model.n_jobs = 1

    def predict(self, x: Any) -> Any:
        """(n, inputs) → (n,)"""
        return self._model.predict_proba(x)[:, 1]


class Trees:
    """Answers of a booster."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster

    def predict(self, x: Any) -> Any:
        """(n, inputs) → (n,)"""
        return self._booster.inplace_predict(x).astype(np.float64)
