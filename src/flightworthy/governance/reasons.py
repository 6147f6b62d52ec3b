"""Why a decision went against someone, in words they can be told.

For each reason of the manifest, its features are set to what is typical (median over unremarkable history) all at
once, the model is asked again, and the reason's weight is how much the score falls. This asks the model itself, works
for any model, and sums correlated features into one reason; it is not a Shapley value and does not claim to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Reason(msgspec.Struct, frozen=True, gc=False):
    """A code, its words, and how much of the score rests on it."""

    code: str
    say: str
    weight: float


class Reasons:
    """Explains adverse decisions of one pilot with one model."""

    def __init__(self, groups: Mapping[str, Sequence[str]], words: Mapping[str, str], inputs: Sequence[str],
                 references: Floats, most: int, falling: bool) -> None:
        self._most, self._falling, self._references = most, falling, references
        named = dict(groups) or {name: (name,) for name in inputs}
        self._codes = [code for code, names in named.items() if any(n in inputs for n in names)]
        self._columns = [np.array([i for i, n in enumerate(inputs) if n in named[code]], np.int64)
                         for code in self._codes]
        self._words = {code: words.get(code, f"The value of {code} is unusual") for code in named}
        self._covers = {name: code for code, names in named.items() for name in names}

    def explain(self, x: Floats, score: Floats, predict: Callable[[Floats], Floats]) -> list[list[Reason]]:
        """Reasons for rows x (n, inputs) with first output ``score`` (n,), heaviest first."""
        n, groups = len(x), len(self._codes)
        if n == 0:
            return []
        trial = np.repeat(x[None], groups, axis=0)
        for g, columns in enumerate(self._columns):
            trial[g][:, columns] = self._references[columns]
        usual = predict(trial.reshape(n * groups, x.shape[1]))[:, 0].reshape(groups, n)
        weights = score - usual if self._falling else np.abs(score - usual)
        return [self._heaviest(weights[:, row]) for row in range(n)]

    def of_rule(self, names: Sequence[str], rule: str) -> list[Reason]:
        """Reasons for a decision by a rule: the words that cover what the rule reads, else the rule itself."""
        codes = dict.fromkeys(self._covers[name] for name in names if name in self._covers)
        found = [Reason(code, self._words[code], 1.0) for code in codes][: self._most]
        return found or [Reason("rule", f"A fixed rule applied: {rule}", 1.0)]

    def _heaviest(self, weights: Floats) -> list[Reason]:
        order = np.argsort(-weights, kind="stable")[: self._most]
        found = [Reason(self._codes[g], self._words[self._codes[g]], float(weights[g])) for g in order
                 if weights[g] > 0]
        return found or [Reason("combination", "No single factor; a combination of several", 0.0)]
