"""What the model earned: treated minus holdout, and decided minus what the baseline would have done.

Entities are drawn into the groups as a whole, so they, not decisions, are the independent units: variances come from
totals by entity (ratio estimator, linearised; Cochran 1977, §6), the interval from a confidence sequence over entities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from flightworthy.objective.sequences import Interval, asymptotic

Totals = dict[str, list[float]]  # entity → [decisions, value]


@dataclass
class Groups:
    """Decisions with known value, totalled by entity and group; and paired differences for the treated."""

    treated: Totals = field(default_factory=dict)
    holdout: Totals = field(default_factory=dict)
    paired: Totals = field(default_factory=dict)

    def add(self, held_out: bool, entity: str, value: float, otherwise: float) -> None:
        """Count one decision and its value, and what the baseline's action would have been worth."""
        _add(self.holdout if held_out else self.treated, entity, value)
        if not held_out:
            _add(self.paired, entity, value - otherwise)


def per_decision(groups: Groups, alpha: float = 0.05) -> Interval:
    """Treated minus holdout, value per decision, at confidence 1 − α at every look. Infinite when a group is empty."""
    if not groups.treated or not groups.holdout:
        return Interval(math.nan, -math.inf, math.inf)
    (a, var_a, n_a), (b, var_b, n_b) = _ratio(groups.treated), _ratio(groups.holdout)
    n = n_a + n_b
    return asymptotic(a - b, math.sqrt((var_a + var_b) * n), n, alpha)


def against_baseline(groups: Groups, alpha: float = 0.05) -> Interval:
    """Decided minus baseline on the same treated decisions, value per decision. Assumes that the outcome does not
    depend on the action."""
    if not groups.paired:
        return Interval(math.nan, -math.inf, math.inf)
    mean, variance, n = _ratio(groups.paired)
    return asymptotic(mean, math.sqrt(variance * n), n, alpha)


def decisions(totals: Mapping[str, list[float]]) -> int:
    """Decisions in a group."""
    return int(sum(count for count, _ in totals.values()))


def _ratio(totals: Totals) -> tuple[float, float, int]:
    """Value per decision, the variance of that estimate, and the number of entities."""
    names = sorted(totals)
    count = math.fsum(totals[name][0] for name in names)
    mean = math.fsum(totals[name][1] for name in names) / count
    n = len(names)
    if n < 2:
        return mean, math.inf, n
    squares = math.fsum((totals[name][1] - mean * totals[name][0]) ** 2 for name in names)
    return mean, n / (n - 1) * squares / count**2, n


def _add(totals: Totals, entity: str, value: float) -> None:
    entry = totals.setdefault(entity, [0.0, 0.0])
    entry[0] += 1
    entry[1] += value
