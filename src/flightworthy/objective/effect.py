"""What the model earned: treated minus holdout, and decided minus what the baseline would have done.

Entities are drawn into the groups as a whole, so they, not decisions, are the independent units: variances come from
totals by entity (ratio estimator, linearised; Cochran 1977, §6), the interval from a confidence sequence over entities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flightworthy.objective.sequences import Interval, asymptotic

Totals = dict[str, list[float]]  # entity → [decisions, value]
FEWEST_CASES = 60  # of each label in each group, before an interval is believed; see docs/value.md


@dataclass
class Groups:
    """Decisions with known value, totalled by entity and group; and paired differences for the treated."""

    treated: Totals = field(default_factory=dict)
    holdout: Totals = field(default_factory=dict)
    paired: Totals = field(default_factory=dict)
    cases: dict[tuple[bool, bool], int] = field(default_factory=dict)  # (held out, label) → decisions
    unseen: dict[bool, list[float]] = field(default_factory=dict)  # held out → the least and the most of what nobody speaks for
    hidden: int = 0  # decisions of the treated whose truth their action hid

    def add(self, held_out: bool, entity: str, value: float, otherwise: float, label: bool | None = None) -> None:
        """Count one decision and its value, and what the baseline's action would have been worth. ``label``: of two kinds of
        truth, which; None where truth is a number."""
        if label is not None:
            self.cases[held_out, label] = self.cases.get((held_out, label), 0) + 1
        _add(self.holdout if held_out else self.treated, entity, value)
        if not held_out:
            _add(self.paired, entity, value - otherwise)


    def hide(self, held_out: bool, entity: str, bounds: tuple[float, float] | None) -> None:
        """Count a decision whose truth its action hid. ``bounds``: of its worth, where no case that was let through speaks for
        it."""
        _add(self.holdout if held_out else self.treated, entity, 0.0)
        self.hidden += not held_out
        if bounds is not None:
            so_far = self.unseen.setdefault(held_out, [0.0, 0.0])
            so_far[0], so_far[1] = so_far[0] + bounds[0], so_far[1] + bounds[1]

    def speak(self, held_out: bool, entity: str, value: float) -> None:
        """Add what hidden decisions are worth by one that was let through, which is itself counted by `add`."""
        (self.holdout if held_out else self.treated).setdefault(entity, [0.0, 0.0])[1] += value


def fewest(groups: Groups, held_out: Iterable[bool] = (False, True)) -> int | None:
    """How many decisions have the label that is rarest in these groups. None where truth is a number."""
    if not groups.cases:
        return None
    return min(groups.cases.get((group, label), 0) for group in held_out for label in (False, True))


def _told(groups: Groups, held_out: Iterable[bool]) -> bool:
    """Whether there is enough to tell. Where a large loss comes once in a hundred decisions, the spread of a group that had few
    of them says next to nothing about the next one."""
    few = fewest(groups, held_out)
    return few is None or few >= FEWEST_CASES


def per_decision(groups: Groups, alpha: float = 0.05) -> Interval:
    """Treated minus holdout, value per decision, at confidence 1 − α at every look. Infinite when a group is empty, or has
    fewer than `FEWEST_CASES` of a label. Where truths were hidden and no case let through speaks for them, the interval
    reaches from the worst they can be to the best (Manski 1990, "Nonparametric bounds on treatment effects"), and the estimate
    is its middle."""
    if not groups.treated or not groups.holdout:
        return Interval(math.nan, -math.inf, math.inf)
    (a, var_a, n_a), (b, var_b, n_b) = mean_of(groups.treated), mean_of(groups.holdout)
    n = n_a + n_b
    told = asymptotic(a - b, math.sqrt((var_a + var_b) * n) if _told(groups, (False, True)) else math.inf, n, alpha)
    mine, theirs = (groups.unseen.get(held_out, [0.0, 0.0]) for held_out in (False, True))
    n_a, n_b = decisions(groups.treated), decisions(groups.holdout)
    low, high = mine[0] / n_a - theirs[1] / n_b, mine[1] / n_a - theirs[0] / n_b
    return Interval(told.value + (low + high) / 2, told.low + low, told.high + high)


def against_baseline(groups: Groups, alpha: float = 0.05) -> Interval:
    """Decided minus baseline on the same treated decisions, value per decision. Assumes that the outcome does not
    depend on the action; nothing is said where an action hid it."""
    if not groups.paired or groups.hidden:
        return Interval(math.nan, -math.inf, math.inf)
    mean, variance, n = mean_of(groups.paired)
    return asymptotic(mean, math.sqrt(variance * n) if _told(groups, (False,)) else math.inf, n, alpha)


def decisions(totals: Mapping[str, list[float]]) -> int:
    """Decisions in a group."""
    return int(sum(count for count, _ in totals.values()))


def mean_of(totals: Totals) -> tuple[float, float, int]:
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
