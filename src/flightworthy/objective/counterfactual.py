"""Is the challenger worth more on the very same decisions? Right only where the truth does not depend on the action."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flightworthy.objective.effect import FEWEST_CASES, Totals, mean_of
from flightworthy.objective.gates import ADVANCE, FEWEST, HOLD, ROLL_BACK, Risk, Verdict
from flightworthy.objective.sequences import Interval, asymptotic


def counterfactual_gate(apart: Totals, moved: int, cases: Mapping[bool, int], loss: float, risk: Risk) -> Verdict:
    """Judge what decisions would have been worth more with the challenger than with the champion, per decision and in money.

    ``apart``: of each entity its decisions with known truth, and the sum of the differences; ``moved``: entities with a
    decision that is worth something else; ``cases``: decisions by label, empty where truth is a number; ``loss``: how much
    less is fine. Entities are the independent units. The sequence is `asymptotic`, each side at its own risk; where few cases
    of a label were seen yet, or next to nobody is decided otherwise, nothing is said.

    >>> apart = {f"card {i}": [10.0, 5.0 if i % 2 else 2.0] for i in range(1000)}
    >>> counterfactual_gate(apart, 1000, {True: 99, False: 9901}, 0.0, Risk()).state
    'advance'
    """
    if not apart:
        return Verdict(HOLD, Interval(math.nan, -math.inf, math.inf), 0.0, 0.0, math.inf)
    return judge(mean_of(apart), moved, cases, loss, risk)


def judge(estimate: tuple[float, float, int], moved: int, cases: Mapping[bool, int], loss: float, risk: Risk) -> Verdict:
    """The same from the estimate alone: mean, its variance, entities."""
    mean, variance, n = estimate
    told = moved >= FEWEST and (not cases or min(cases.get(label, 0) for label in (False, True)) >= FEWEST_CASES)
    deviation = math.sqrt(variance * n) if told else math.inf
    # One side of a sequence at twice the risk: it is left on that side half as often.
    below = mean - asymptotic(mean, deviation, n, min(1.0, 2 * risk.advance)).low
    above = asymptotic(mean, deviation, n, min(1.0, 2 * risk.rollback)).high - mean
    harm, fine = max(0.0, -mean / above), max(0.0, (mean + loss) / below)
    state = ROLL_BACK if harm > 1 else ADVANCE if fine > 1 else HOLD
    most = max(harm, fine)
    return Verdict(state, Interval(mean, mean - below, mean + above), harm, fine,
                   1.0 if state != HOLD else math.inf if most == 0 or not told else max(1.0, most**-2))
