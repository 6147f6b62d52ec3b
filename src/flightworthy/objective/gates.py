"""Gates of a rollout: is the challenger worse than the champion, or proven to be no worse than a margin allows?

Each gate asks two questions at every look, with a risk of its own for each: *harm* (the challenger is worse at all) rolls back,
*fine* (it is worse by less than the margin) lets the rollout go on. Neither: hold. Too little data, or none, is neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flightworthy.objective.evidence import Floats, above_rate, above_ratio, above_zero, below_rate, below_ratio, either, scale_of
from flightworthy.objective.sequences import Interval

ADVANCE, HOLD, ROLL_BACK = "advance", "hold", "roll back"
FEWEST = 30  # pairs or events before which nothing is proven fine


Evidence = Callable[[float], float]  # its logarithm if there were so many times the data, alike to what was seen


class Risk(NamedTuple):
    """Chances, at most, of two mistakes over the whole life of a gate, however often one looks."""

    rollback: float = 0.05  # of rolling back a challenger that is no worse
    advance: float = 0.05  # of advancing one that is worse by the margin or more

    def of(self, gates: int) -> Risk:
        """The risk of each of several gates, when a rollout as a whole shall have this one. A single gate suffices to roll back,
        so they share that risk (Bonferroni); all of them must agree to advance, so each may take that risk in full."""
        return Risk(self.rollback / gates, self.advance)


@dataclass(frozen=True)
class Verdict:
    """What a gate says at one look. ``harm`` and ``fine``: evidence as a share of what is asked (1: there). ``interval``: of the
    rate ratio, or of the difference per decision, both sides valid at every look. ``needed``: how many times as much data
    would decide it, should it go on as it began; infinite where that is not in sight."""

    state: str
    interval: Interval
    harm: float
    fine: float
    needed: float

    @classmethod
    def of(cls, interval: Interval, harm: Evidence, fine: Evidence, risk: Risk, enough: bool) -> Verdict:
        """From log evidence, now and with more data."""
        harmed, proven = harm(1.0) / -math.log(risk.rollback), fine(1.0) / -math.log(risk.advance)
        state = ROLL_BACK if harmed >= 1 else ADVANCE if proven >= 1 and enough else HOLD
        return cls(state, interval, harmed, proven, 1.0 if state != HOLD else _needed(harm, fine, risk))


class Events(NamedTuple):
    """Bad events of one stage: the challenger's ``share`` of the decisions of both arms, its events, and those of both."""

    share: float
    challenger: int
    both: int


class Seen(NamedTuple):
    """Of ``all`` decisions of the challenger so many were ``bad``."""

    bad: int
    all: int


NOTHING = Seen(0, 0)


def rate_gate(stages: Sequence[Events], margin: float, risk: Risk, tolerance: float = 0.0,
              seen: Seen = NOTHING) -> Verdict:
    """Judge how often something bad happens; ``margin`` is relative: 0.1 allows a tenth more than the champion has. A share below
    ``tolerance`` is fine whatever the champion's is: where next to nothing fails, no ratio is ever known.

    >>> rate_gate([Events(0.5, 30, 40)], 0.1, Risk()).state
    'roll back'
    >>> rate_gate([], 0.1, Risk()).state
    'hold'
    >>> rate_gate([Events(0.5, 1, 1)], 0.1, Risk(), 0.001, Seen(1, 10_000)).state
    'advance'
    """
    told = np.array(stages, float).reshape(-1, 3)
    share, inside, events = told.T
    interval = _between(lambda x: float(above_ratio(inside, events, share, math.exp(x))),
                        lambda x: float(below_ratio(inside, events, share, math.exp(x))), risk.rollback, risk.advance, 8.0)
    ratio, few = _ratio(share, inside, events), events.sum() < FEWEST

    def fine(times: float) -> float:
        relative = -math.inf if few else float(below_ratio(times * inside, times * events, share, 1 + margin))
        rare = float(below_rate(times * seen.bad, times * seen.all, tolerance)) if tolerance else -math.inf
        return either(relative, rare) if tolerance else relative

    return Verdict.of(Interval(ratio, math.exp(interval[0]), math.exp(interval[1])),
                      lambda times: float(above_ratio(times * inside, times * events, share)), fine, risk, True)


def limit_gate(seen: Seen, limit: float, risk: Risk) -> Verdict:
    """Judge a share that must not be larger than a limit; the interval is that of the share.

    >>> [limit_gate(Seen(bad, 1000), 0.1, Risk()).state for bad in (20, 100, 200)]
    ['advance', 'hold', 'roll back']
    """
    bad, all_ = seen
    low, high = (_end(refuted, math.log(1e-9), math.log(1 - 1e-9)) for refuted in (
        lambda x: float(above_rate(bad, all_, math.exp(x))) >= -math.log(risk.rollback),
        lambda x: float(below_rate(bad, all_, -math.expm1(x))) >= -math.log(risk.advance)))
    share = bad / all_ if all_ else math.nan
    return Verdict.of(Interval(share, math.exp(low), -math.expm1(high)),
                      lambda times: float(above_rate(times * bad, times * all_, limit)),
                      lambda times: float(below_rate(times * bad, times * all_, limit)), risk, True)


def value_gate(value: npt.ArrayLike, count: npt.ArrayLike, margin: float, risk: Risk) -> Verdict:
    """Judge what decisions are worth. Arrays (pairs, 2): totals of a challenger's unit and of the champion's it is paired with,
    values (money) and numbers of decisions; ``margin``: how much less a decision may be worth, in money.

    >>> rng = np.random.default_rng(1)
    >>> value_gate(rng.normal([4.5, 5.0], 1, (500, 2)), np.ones((500, 2)), 0.1, Risk()).state
    'roll back'
    """
    v, n = np.asarray(value, float).reshape(-1, 2), np.asarray(count, float).reshape(-1, 2)
    if len(v) == 0 or not n.sum():
        return Verdict(HOLD, Interval(math.nan, -math.inf, math.inf), 0.0, 0.0, math.inf)
    total = 0.5 * float(n.sum())
    apart, squares = (float(x) for x in paired(v, n, 0.0))
    estimate, reach = apart / total, 64 * math.sqrt(squares) / total

    def more(by: float, times: float = 1.0) -> float:
        return float(better(v, n, by, times))

    def less(by: float, times: float = 1.0) -> float:
        return float(better(-v, n, -by, times))

    low, high = _between(lambda x: more(estimate + x), lambda x: less(estimate + x), risk.advance, risk.rollback, reach)
    return Verdict.of(Interval(estimate, estimate + low, estimate + high), partial(less, 0.0), partial(more, -margin), risk,
                      len(v) >= FEWEST)


def better(value: Floats, count: Floats, by: npt.ArrayLike, times: float = 1.0) -> Floats:
    """Log evidence that a challenger's decision is worth more than a champion's ``by`` so much; arrays (..., pairs, 2).
    ``times``: if there were so many times as many pairs like these.

    The scale follows the data. It depends on no sign, so each look by itself is exact for arms that are alike; that it moves
    between looks, as totals of units grow, is what `make bench-gates` tries."""
    total, squares = paired(value, count, by)
    return above_zero(times * total, times * squares, scale_of(np.maximum(squares, 1e-300), value.shape[-2]))


def paired(value: Floats, count: Floats, by: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Sum and sum of squares of the differences within pairs, if decisions of the challenger are worth ``by`` more. What a unit
    brings is counted beyond the mean of all decisions, so that units with many decisions do not count as valuable for that."""
    each = value - np.asarray(by, float)[..., None, None] * count * np.array([1.0, 0.0])
    mean = each.sum((-2, -1)) / np.maximum(count.sum((-2, -1)), 1)
    beyond = each - mean[..., None, None] * count
    apart = beyond[..., 0] - beyond[..., 1]
    return apart.sum(-1), (apart**2).sum(-1)


def _needed(harm: Evidence, fine: Evidence, risk: Risk) -> float:
    for times in np.geomspace(1.0, 1e6, 121)[1:].tolist():  # steps of an eighth: more than is known of what will come
        if harm(times) >= -math.log(risk.rollback) or fine(times) >= -math.log(risk.advance):
            return float(times)
    return math.inf


def _ratio(share: Floats, inside: Floats, events: Floats) -> float:
    """Rate ratio that explains the counts: odds of the events over odds of the exposure, summed over stages as by Mantel and
    Haenszel (1959)."""
    above, below = float((inside * (1 - share)).sum()), float(((events - inside) * share).sum())
    return above / below if below else math.inf if above else math.nan


def _between(above: Callable[[float], float], below: Callable[[float], float], low: float, high: float,
             reach: float) -> tuple[float, float]:
    """Ends of what is not refuted: that it is above less than this, at risk ``low``; that it is below more, at ``high``."""
    return (_end(lambda x: above(x) >= -math.log(low), -reach, reach),
            -_end(lambda x: below(-x) >= -math.log(high), -reach, reach))


def _end(refuted: Callable[[float], bool], low: float, high: float) -> float:
    """The largest of what is refuted."""
    if not refuted(low):
        return -math.inf
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
