"""From numbers to an action: the first rule whose condition holds, for a whole frame at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flightworthy.manifest.expressions import names
from flightworthy.manifest.expressions.machine import Programs
from flightworthy.manifest.pilot import ParsedRule

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Policy:
    """Compiled rules. Uses the scratch columns of a frame: two for each rule."""

    def __init__(self, rules: Sequence[ParsedRule], texts: Sequence[str], index: Mapping[str, int],
                 scratch: int) -> None:
        self.actions = [rule.action for rule in rules]
        self.texts = list(texts)
        self.reads = [sorted(set(names(r.condition))) if r.condition is not None else [] for r in rules]
        self._conditions = {i: scratch + i for i, r in enumerate(rules) if r.condition is not None}
        self._quantities = {i: scratch + len(rules) + i for i, r in enumerate(rules) if r.quantity is not None}
        programs = [(r.condition, self._conditions[i]) for i, r in enumerate(rules) if r.condition is not None]
        programs += [(r.quantity, self._quantities[i]) for i, r in enumerate(rules) if r.quantity is not None]
        self._programs = Programs(programs, index)

    @staticmethod
    def scratch(*policies: Sequence[ParsedRule]) -> int:
        """Scratch columns that serve all of these policies."""
        return 2 * max(len(rules) for rules in policies)

    def decide(self, frame: Floats) -> tuple[Ints, Floats]:
        """Index of the rule that decides each row, and its quantity (NaN where there is none)."""
        self._programs.run(frame)
        chosen = np.full(len(frame), len(self.actions) - 1, np.int64)
        for i in sorted(self._conditions, reverse=True):
            chosen[frame[:, self._conditions[i]] == 1.0] = i
        quantity = np.full(len(frame), np.nan)
        for i, column in self._quantities.items():
            rows = chosen == i
            quantity[rows] = frame[rows, column]
        return chosen, quantity
