"""Is the challenger worth more on the very same decisions? Right only where the truth does not depend on the action.

Differences of worth are as skewed as can be: thousands that cost a little for one that gains much. An interval from their spread
alone is far too narrow before the rare ones were seen. So nothing is said before enough of them were seen, and none makes
up much of what would overturn the verdict; and the variance is at least what the labels of all decisions that differ would
make it, had each its chance of the rare label, whether it fell on a large amount or not. `make bench-gates` tries that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from flightworthy.objective.effect import Totals, mean_of
from flightworthy.objective.gates import ADVANCE, FEWEST, HOLD, ROLL_BACK, Risk, Verdict
from flightworthy.objective.sequences import Interval, asymptotic

FEWEST_MOVED = 40  # decisions of each label that would be worth something else
LARGEST, SMALL = 0.03, 0.05  # what one of them may make up: of all that was gained, or lost; of the deviation of the sum
MORE = 20  # so many more like the largest must not overturn a verdict that does not wait for that


@dataclass
class Moved:
    """Decisions that would be worth something else with the challenger. ``cases``: by label, empty where truth is a number;
    ``sides``: gains and losses, sum and largest; ``spans``: by which label is the better one for the challenger: decisions,
    those with the label true, squares of how far their worth is apart between the labels."""

    cases: dict[bool, int] = field(default_factory=dict)
    sides: dict[bool, list[float]] = field(default_factory=dict)
    spans: dict[bool, list[float]] = field(default_factory=dict)

    def add(self, apart: float, label: bool | None, span: float = 0.0) -> None:
        """One more; ``span``: what it would be worth with the label true less what it would be with it false."""
        side = self.sides.setdefault(apart > 0, [0.0, 0.0])
        side[0], side[1] = side[0] + abs(apart), max(side[1], abs(apart))
        if label is not None:
            self.cases[label] = self.cases.get(label, 0) + 1
            spans = self.spans.setdefault(span > 0, [0.0, 0.0, 0.0])
            spans[0], spans[1], spans[2] = spans[0] + 1, spans[1] + label, spans[2] + span**2

    def merge(self, other: Moved) -> None:
        """Take in those of another shard."""
        for label, count in other.cases.items():
            self.cases[label] = self.cases.get(label, 0) + count
        for better, (total, most) in other.sides.items():
            side = self.sides.setdefault(better, [0.0, 0.0])
            side[0], side[1] = side[0] + total, max(side[1], most)
        for better, told in other.spans.items():
            self.spans[better] = [a + b for a, b in zip(self.spans.get(better, [0.0] * 3), told, strict=True)]

    def seen(self, gains: bool, deviation: float, beyond: float) -> bool:
        """Whether enough was seen of the gains, or of the losses, to say that what is still to come of them matters little.
        ``deviation``: of the sum of all; ``beyond``: how much of the sum the verdict could do without."""
        few = self.cases and min(self.cases.get(label, 0) for label in (False, True)) < FEWEST_MOVED
        total, most = self.sides.get(gains, (0.0, 0.0))
        return not few and most <= max(LARGEST * total, SMALL * deviation, beyond / MORE)

    @property
    def least_variance(self) -> float:
        """Of the sum of all differences, if each had the same chance of its label as all that differ the same way."""
        chances = ((squares, (true + 1) / (n + 2)) for n, true, squares in self.spans.values())
        return sum(squares * chance * (1 - chance) for squares, chance in chances)


def counterfactual_gate(apart: Totals, entities: int, moved: Moved, loss: float, risk: Risk) -> Verdict:
    """Judge what decisions would have been worth more with the challenger than with the champion, per decision and in money.

    ``apart``: of each entity its decisions with known truth, and the sum of the differences; ``entities``: how many of them
    have a decision that is worth something else; ``loss``: how much less is fine. Entities are the independent units. The
    sequence is `asymptotic`, each side at its own risk.

    >>> apart, moved = {f"card {i}": [10.0, 5.0 if i % 2 else 2.0] for i in range(1000)}, Moved()
    >>> for i in range(1000):
    ...     moved.add(5.0 if i % 2 else 2.0, i % 2 == 0)
    >>> counterfactual_gate(apart, 1000, moved, 0.0, Risk()).state
    'advance'
    """
    if not apart:
        return Verdict(HOLD, Interval(math.nan, -math.inf, math.inf), 0.0, 0.0, math.inf)
    return judge(mean_of(apart), sum(count for count, _ in apart.values()), entities, moved, loss, risk)


def judge(estimate: tuple[float, float, int], decisions: float, entities: int, moved: Moved, loss: float, risk: Risk) -> Verdict:
    """The same from the estimate: mean, its variance by what was seen, entities; and the number of decisions. To say that it
    is fine takes enough losses, to say that it is worse enough gains: what is not seen yet would overturn it."""
    mean, variance, n = estimate
    error = math.sqrt(max(variance, moved.least_variance / decisions**2)) if decisions else math.inf
    deviation = error * math.sqrt(n) if entities >= FEWEST else math.inf

    def reach(side: float, gains: bool, alpha: float) -> float:
        """How far the truth may be on a side, from what is estimated to be ``side`` on the other."""
        known = asymptotic(0.0, deviation, n, alpha).high
        return known if moved.seen(gains, error * decisions, (side - known) * decisions) else math.inf

    below, above = reach(mean + loss, False, risk.advance), reach(-mean, True, risk.rollback)
    harm, fine = (max(0.0, share / reach) if reach else 0.0 for share, reach in ((-mean, above), (mean + loss, below)))
    state = ROLL_BACK if harm > 1 else ADVANCE if fine > 1 else HOLD
    most = max(harm, fine)
    return Verdict(state, Interval(mean, mean - below, mean + above), harm, fine,
                   1.0 if state != HOLD else math.inf if most == 0 else max(1.0, most**-2))
