"""Rollouts judged on the same decisions: two models that are worth the same, though their decisions differ in the most skewed
way there is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from flightworthy.objective.counterfactual import Moved, judge
from flightworthy.objective.evidence import Floats
from flightworthy.objective.gates import ADVANCE, ROLL_BACK, Risk

LOOKS, CHUNK = 40, 25


@dataclass(frozen=True)
class Twins:
    """Customers, decisions of each, how often there is fraud, how much of it only the challenger declines, how many of the
    others it declines besides; deviation of the logarithm of an amount; how many times larger a fraud's amount is."""

    name: str
    customers: int
    decisions: float
    fraud: float
    caught: float
    spread: float
    wrong: float
    larger: float = 1.0


_KINDS = (Twins("many differ", 4000, 60, 0.01, 0.3, 0.7, 0.02), Twins("heavy tails", 4000, 60, 0.01, 0.3, 1.5, 0.02),
          Twins("heavy tails, ten times as much", 20_000, 120, 0.01, 0.3, 1.5, 0.02),
          Twins("few differ", 4000, 120, 0.004, 0.15, 0.7, 0.01), Twins("few, heavy tails", 8000, 120, 0.004, 0.15, 1.2, 0.01))
TWINS = (*_KINDS, *(replace(kind, name=f"{kind.name}, frauds three times as large", larger=3.0) for kind in _KINDS))


def same(kind: Twins, seed: int, risk: Risk) -> dict[str, int]:
    """Rollouts in which gains are rare and large, each with its mirror image in which losses are: how many were rolled back,
    or found worth more, at any look; and how many would be by the spread of what was seen alone."""
    out = {"rollouts": CHUNK, "rolled_back": 0, "advanced": 0, "naive": 0}
    for i in range(CHUNK):
        (gains, early), (losses, late) = (_rollout(kind, sign, np.random.default_rng([seed, i]), risk) for sign in (1, -1))
        out["rolled_back"] += ROLL_BACK in gains | losses
        out["advanced"] += ADVANCE in gains | losses
        out["naive"] += early or late
    return out


def _rollout(kind: Twins, sign: int, rng: np.random.Generator, risk: Risk) -> tuple[set[str], bool]:
    scale = np.exp(0.7 * rng.normal(size=kind.customers))
    mean = 60 * kind.larger * math.exp(kind.spread**2 / 2 + 0.7**2 / 2)
    lost = kind.fraud * kind.caught * 2 * mean / ((1 - kind.fraud) * kind.wrong)  # so that both are worth the same
    total, moved = np.zeros((kind.customers, 2)), np.zeros(kind.customers, bool)
    gains, losses, spans = np.zeros(2), np.zeros(2), np.zeros(3)
    states, naive = set[str](), False
    for _ in range(LOOKS):
        n = rng.poisson(kind.decisions / LOOKS, kind.customers)
        frauds = rng.binomial(n, kind.fraud)
        found, wrong = rng.binomial(frauds, kind.caught), rng.binomial(n - frauds, kind.wrong)
        who, amounts = _amounts(rng, found, kind, scale, kind.larger)
        _, others = _amounts(rng, wrong, kind, scale, 1.0)
        apart = np.bincount(who, 2 * amounts, kind.customers) - lost * wrong
        total += np.stack([n, sign * apart], 1)
        moved |= found + wrong > 0
        gains += [2 * amounts.sum(), 0]
        gains[1] = max([gains[1], *(2 * amounts)])
        losses = np.array([losses[0] + lost * wrong.sum(), lost])
        spans += [len(amounts) + len(others), len(amounts),
                  ((2 * amounts + lost) ** 2).sum() + ((2 * others + lost) ** 2).sum()]
        told = Moved({True: int(spans[1]), False: int(spans[0] - spans[1])},
                     {sign > 0: gains.tolist(), sign < 0: losses.tolist()}, {sign > 0: spans.tolist()})
        estimate, count = _mean(total), total[:, 0].sum()
        states.add(judge(estimate, count, int(moved.sum()), told, 0.0, risk).state)
        bare = judge(estimate, count, int(moved.sum()), Moved(), 0.0, risk).state
        naive |= bare == (ROLL_BACK if sign > 0 else ADVANCE)
    return states, naive


def _amounts(rng: np.random.Generator, counts: Floats, kind: Twins, scale: Floats, larger: float) -> tuple[Floats, Floats]:
    who = np.repeat(np.arange(kind.customers), counts)
    return who, 60 * larger * np.exp(kind.spread * rng.normal(size=len(who))) * scale[who]


def _mean(total: Floats) -> tuple[float, float, int]:
    seen = total[total[:, 0] > 0]
    n, count = len(seen), seen[:, 0].sum()
    mean = seen[:, 1].sum() / count
    return float(mean), float(n / (n - 1) * ((seen[:, 1] - mean * seen[:, 0]) ** 2).sum() / count**2), n
