"""Before a rollout: what it would do with a pilot's own traffic, values and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flightworthy.decision.fallback import CHAMPION
from flightworthy.decision.route import TREATED
from flightworthy.decision.valuation import HIDDEN, PENDING, Judged
from flightworthy.ground.errors import DataError
from flightworthy.manifest.pilot import Pilot
from flightworthy.objective.forecast import Lift, Outcome, Plan, Traffic, lift, outcome
from flightworthy.objective.gates import Risk

DAY, FEWEST = 86_400_000_000, 1000
CHANGES = (0.25, 0.1, 0.0, -0.1, -0.25, -0.5)
LIFTS = (0.001, 0.01, 0.05, 0.25)


@dataclass(frozen=True)
class Forecast:
    """What is to be expected. ``rate``: decisions a day; ``earns``: what a decision of the champion is worth more than the
    baseline's; ``days`` of traffic it is made from."""

    rate: float
    days: int
    earns: float
    failing: float
    lifts: list[Lift]
    outcomes: list[Outcome]


def traffic(pilot: Pilot, judged: Iterable[Judged]) -> Traffic:
    """Decisions of the champion whose outcomes are final. Raises `DataError` when they are too few."""
    rows, names, asked, failed = [], dict[str, int](), 0, 0
    for item in judged:
        record = item.record
        if record.arm != TREATED or item.status in (PENDING, HIDDEN) or not record.path[0].startswith(CHAMPION):
            continue
        asked, failed = asked + 1, failed + (record.path[0] != CHAMPION)
        entity = names.setdefault(str(getattr(record.event, pilot.assigned_by)), len(names))
        label = float("nan") if item.label is None or pilot.manifest.outcomes.type != "boolean" else item.label
        rows.append((item.time // DAY, entity, float(item.value), float(item.value - item.otherwise), label))
    if len(rows) < FEWEST:
        raise DataError("too few decisions with a final outcome to say what a rollout would do", found=len(rows),
                        expected=f"at least {FEWEST}", next_step="let the champion decide for longer")
    told = np.array(rows, float)
    told = told[np.argsort(told[:, 0], kind="stable")]
    day = told[:, 0].astype(np.int64)
    first = int(np.quantile(day, 0.001))  # a stray early one would make many empty days
    told, day = told[day >= first], day[day >= first] - first
    return Traffic(day, told[:, 1].astype(np.int64), told[:, 2], told[:, 3], told[:, 4], int(day.max()) + 1, failed / asked)


def plan(pilot: Pilot, most: int) -> Plan:
    """As the manifest has it, for at most so many days."""
    spec, outcomes = pilot.manifest.rollout, pilot.manifest.outcomes
    horizon = outcomes.horizon if outcomes.horizon is not None else outcomes.delay
    gates = 2 + bool(pilot.manifest.objective.budget.p99_latency) + bool(spec.shift)
    return Plan(spec.stages, spec.least.decisions, spec.least.time / DAY, horizon / DAY, most, float(spec.loss), spec.tolerance,
                Risk(spec.risk, spec.risk).of(gates), spec.value == "counterfactual")


def forecast(pilot: Pilot, judged: Iterable[Judged], tries: int, most: int, seed: int, changes: Sequence[float] = CHANGES,
             advance: Callable[[], None] = lambda: None) -> Forecast:
    """Try rollouts of challengers that are better, alike and worse. Raises `DataError`."""
    past, rules, rng = traffic(pilot, judged), plan(pilot, most), np.random.default_rng(seed)
    first = next(share for share in rules.shares if share)
    lifts = [lift(share, past.failing, more, rules.risk.rollback, 300, rng)
             for share in dict.fromkeys([rules.shares[0], first]) for more in LIFTS]
    outcomes = []
    for change in changes:
        outcomes.append(outcome(past, rules, change, tries, rng))
        advance()
    return Forecast(past.rate, past.days, float(past.over.mean()), past.failing, lifts, outcomes)
