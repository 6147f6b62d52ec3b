"""What a rollout would do, tried on traffic like a pilot's own: how long it takes, what it catches, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from flightworthy.objective.counterfactual import Moved, judge
from flightworthy.objective.evidence import Floats, above_ratio, below_rate
from flightworthy.objective.gates import ADVANCE, ROLL_BACK, Risk, Verdict, value_gate

PROMOTED, ROLLED_BACK, UNDECIDED = "promoted", "rolled back", "undecided"
EVENTS = 4000  # of failures, after which a lift counts as not found
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Traffic:
    """Past decisions of a champion with final outcomes, in order of time: day (n, from 0), entity (n, from 0), worth (n), how
    much more than the baseline's (n), label (n; NaN where truth is a number). ``days``: how many there are; ``failing``: share
    without an answer."""

    day: Ints
    entity: Ints
    worth: Floats
    over: Floats
    label: Floats
    days: int
    failing: float

    @property
    def rate(self) -> float:
        """Decisions a day."""
        return len(self.day) / self.days


@dataclass(frozen=True)
class Plan:
    """How the rollout goes: shares by stage, least decisions and days of a stage, days until an outcome is final, most days in
    all."""

    shares: Sequence[float]
    decisions: int
    days: float
    horizon: float
    most: int
    loss: float
    tolerance: float
    risk: Risk
    counterfactual: bool


@dataclass
class Outcome:
    """Of many tries with a challenger that is worth so much more or less. ``ends``: how often each; medians of days until the
    end, of the challenger's decisions, of what these were worth more than the champion's."""

    change: float
    ends: dict[str, float] = field(default_factory=dict)
    days: float = math.nan
    decisions: float = math.nan
    worth_more: float = math.nan


@dataclass(frozen=True)
class Lift:
    """Of many tries with a challenger that fails so much more often, at a share of the traffic (0: as a shadow): how often it
    is found, after how many of its decisions, and how many of them failed; medians."""

    share: float
    lift: float
    found: float
    decisions: float
    harmful: float


def outcome(traffic: Traffic, plan: Plan, change: float, tries: int, rng: np.random.Generator) -> Outcome:
    """Try a challenger that on a share |``change``| of decisions does what is worth as much less (or more) as the champion's
    action is worth more than the baseline's: −0.1 loses a tenth of what the champion earns."""
    ends = [_Try(traffic, plan, change, rng).run() for _ in range(tries)]
    out = Outcome(change, {end: sum(e == end for e, *_ in ends) / tries for end in (PROMOTED, ROLLED_BACK, UNDECIDED)})
    out.days, out.decisions, out.worth_more = (float(np.median([each[i] for each in ends])) for i in (1, 2, 3))
    return out


class _Try:
    """One rollout, looked at once a day."""

    def __init__(self, traffic: Traffic, plan: Plan, change: float, rng: np.random.Generator) -> None:
        self.t, self.plan = traffic, plan
        entities = int(traffic.entity.max()) + 1
        self.drawn = rng.random(entities)
        self.apart = np.where(rng.random(len(traffic.day)) < abs(change), math.copysign(1, change) * traffic.over, 0.0)
        self.bounds = np.searchsorted(traffic.day, np.arange(traffic.days + 1))
        self.total = np.zeros((entities, 2))  # decisions, apart
        self.arms = np.zeros((2, entities, 2))  # challenger and champion: decisions, worth
        self.moved, self.seen = np.zeros(entities, bool), Moved()
        self.shares: list[float] = []

    def run(self) -> tuple[str, int, int, float]:
        """How it ended, after how many days, with how many decisions of the challenger, worth so much more."""
        plan, stage, since, in_stage = self.plan, 0, 0, 0
        mine, more, asked = 0, 0.0, 0
        for day in range(plan.most):
            share = plan.shares[stage]
            self.shares.append(share)
            rows = self._rows(day)
            taken = self.drawn[self.t.entity[rows]] < share
            mine, more = mine + int(taken.sum()), more + float(self.apart[rows][taken].sum())
            in_stage, asked = in_stage + int(taken.sum() if share else len(taken)), asked + len(taken)
            verdict = self._look(day)
            if verdict.state == ROLL_BACK:
                return ROLLED_BACK, day + 1, mine, more
            calm = float(below_rate(0, asked, plan.tolerance)) >= -math.log(plan.risk.advance)
            if calm and day + 1 - since >= plan.days and in_stage >= plan.decisions:
                if stage + 1 < len(plan.shares):
                    stage, since, in_stage = stage + 1, day + 1, 0
                elif verdict.state == ADVANCE:
                    return PROMOTED, day + 1, mine, more
        return UNDECIDED, plan.most, mine, more

    def _rows(self, day: int) -> slice:
        at = day % self.t.days
        return slice(int(self.bounds[at]), int(self.bounds[at + 1]))

    def _look(self, day: int) -> Verdict:
        final = day - math.ceil(self.plan.horizon)
        if final >= 0:
            self._take_in(final)
        if self.plan.counterfactual:
            seen = np.flatnonzero(self.total[:, 0])
            decisions, moved = float(self.total[:, 0].sum()), int(self.moved.sum())
            return judge(_mean_of(self.total[seen]), decisions, moved, self.seen, self.plan.loss, self.plan.risk)
        first, second = (self.arms[i][self.arms[i][:, 0] > 0] for i in (0, 1))
        n = min(len(first), len(second))
        both = np.stack([first[:n], second[:n]], 1)
        return value_gate(both[:, :, 1], both[:, :, 0], self.plan.loss, self.plan.risk)

    def _take_in(self, day: int) -> None:
        rows, entities = self._rows(day), len(self.drawn)
        who, apart, share = self.t.entity[rows], self.apart[rows], self.shares[day]
        self.total += np.stack([np.bincount(who, minlength=entities), np.bincount(who, apart, entities)], 1)
        self.moved[who[apart != 0]] = True
        label = self.t.label[rows][apart != 0]
        for worth_more, true in zip(apart[apart != 0].tolist(), label.tolist(), strict=True):
            self.seen.add(worth_more, None if math.isnan(true) else bool(true))
        size = min(share, 1 - share)
        worth = self.t.worth[rows]
        for arm, inside, value in ((0, self.drawn[who] < size, worth + apart), (1, self.drawn[who] >= 1 - size, worth)):
            some = who[inside]
            self.arms[arm] += np.stack([np.bincount(some, minlength=entities), np.bincount(some, value[inside], entities)], 1)


def _mean_of(total: Floats) -> tuple[float, float, int]:
    """As `effect.mean_of`, of an array: entity, [decisions, value]."""
    n = len(total)
    if n < 2:
        return 0.0, math.inf, n
    count = total[:, 0].sum()
    mean = total[:, 1].sum() / count
    return float(mean), float(n / (n - 1) * ((total[:, 1] - mean * total[:, 0]) ** 2).sum() / count**2), n


def lift(share: float, base: float, more: float, risk: float, tries: int, rng: np.random.Generator) -> Lift:
    """Try a challenger that fails ``more`` often (a share of its decisions), the champion ``base``, at a share of the traffic.

    >>> found = lift(0.1, 0.001, 0.05, 0.05, 50, np.random.default_rng(1))
    >>> found.found, found.harmful < 20
    (1.0, True)
    """
    split = share or 0.5  # a shadow and the champion are asked for the same decisions
    often = split * (base + more) + (1 - split) * base
    inside = rng.random((tries, EVENTS)) < split * (base + more) / often
    waited = rng.geometric(min(1.0, often), (tries, EVENTS)).cumsum(1)
    k, n = inside.cumsum(1), np.arange(1, EVENTS + 1)
    looked = np.unique(np.geomspace(1, EVENTS, 200).astype(int)) - 1
    evidence = above_ratio(k[:, looked, None], np.broadcast_to(n[looked], (tries, len(looked)))[..., None],
                           np.full((tries, len(looked), 1), split))
    reached: Any = evidence >= -math.log(risk)
    found = reached.any(1)
    at = looked[reached.argmax(1)]
    rows = np.flatnonzero(found)
    if not len(rows):
        return Lift(share, more, 0.0, math.nan, math.nan)
    return Lift(share, more, float(found.mean()), float(np.median(split * waited[rows, at[rows]])),
                float(np.median(k[rows, at[rows]])) if share else 0.0)
