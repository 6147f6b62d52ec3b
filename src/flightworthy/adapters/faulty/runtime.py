"""A model runtime that fails as declared."""

from __future__ import annotations

import numpy as np

from flightworthy.adapters.faulty.faults import PARTIAL, Misfortune
from flightworthy.model.runtime import Floats, Predictor


class FaultyPredictor:
    """Passes calls on. ``partial`` here: the second half of the answers is missing (NaN)."""

    def __init__(self, inner: Predictor, misfortune: Misfortune) -> None:
        self._inner, self._misfortune = inner, misfortune

    def predict(self, x: Floats) -> Floats:
        """(n, inputs) → (n,). Raises `AdapterError` when a fault says so."""
        struck = self._misfortune.before("predict")
        answer = self._inner.predict(x)
        if struck == PARTIAL:
            answer = answer.copy()
            answer[len(answer) // 2 :] = np.nan
        return answer
