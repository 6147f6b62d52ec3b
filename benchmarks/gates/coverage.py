"""Whether the interval of `flightworthy value` covers the truth at every look: simulated pilots whose true effect is known, with
rare frauds, heavy-tailed amounts, customers that differ, labels 7 to 90 days late, and labels that never come because the case
was declined: of those a share is let through and speaks for the others. Writes ``out/bench/value.json``.

Usage: python -m benchmarks.gates.coverage [--pilots N] [--seed S]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import step, write
from flightworthy.objective.effect import FEWEST_CASES, Groups, per_decision
from flightworthy.objective.evidence import Floats
from flightworthy.objective.sequences import asymptotic

ALPHA, HOLDOUT, CUSTOMERS, CHUNK = 0.05, 0.1, 16_000, 20
DAYS, HORIZON, EVERY = 120, 90, 5  # of decisions that become final; days until they are; between two looks
ACTIVE = 0.2  # decisions of a customer a day


@dataclass(frozen=True)
class Kind:
    """A kind of pilot: how often there is fraud, how much of it a model and the baseline decline, and what else they decline."""

    name: str
    fraud: float
    model: tuple[float, float]
    baseline: tuple[float, float]
    spread: float = 1.0  # of the logarithm of an amount
    differ: float = 0.5  # and between customers
    through: float = 0.0  # share of the declined that is let through, where declining hides the truth


KINDS = (
    Kind("one fraud in 50", 0.02, (0.6, 0.01), (0.3, 0.02)),
    Kind("one in 200, nearly all caught", 0.005, (0.95, 0.01), (0.2, 0.01)),
    Kind("one in 500", 0.002, (0.7, 0.005), (0.3, 0.01)),
    Kind("heavy tails", 0.01, (0.6, 0.01), (0.3, 0.01), spread=1.5, differ=1.0),
    Kind("no difference", 0.005, (0.4, 0.01), (0.4, 0.01)),
    Kind("declining hides the truth", 0.02, (0.6, 0.01), (0.3, 0.02), through=0.2),
    Kind("hidden, nearly all caught", 0.01, (0.9, 0.01), (0.3, 0.01), through=0.3),
    Kind("hidden, heavy tails", 0.02, (0.6, 0.01), (0.3, 0.01), spread=1.5, differ=1.0, through=0.2),
    Kind("hidden, no difference", 0.02, (0.4, 0.01), (0.4, 0.01), through=0.2),
)


def effect(kind: Kind) -> float:
    """The truth: how much more a decision of the model is worth than one of the baseline."""
    amount = math.exp(3 + kind.spread**2 / 2 + kind.differ**2 / 2)

    def worth(caught: float, wrong: float) -> float:
        kept = 1 - kind.through
        return kind.fraud * amount * (2 * caught * kept - 1) - (1 - kind.fraud) * wrong * kept * (0.05 * amount + 2)

    return worth(*kind.model) - worth(*kind.baseline)


def pilots(task: tuple[int, int]) -> dict[str, Any]:
    """Some pilots of a kind: looks with an interval, pilots it missed at any of them, with and without waiting for cases; errors
    of the estimate and of a naive one at the end."""
    number, seed = task
    kind, rng = KINDS[number], np.random.default_rng([seed, number])
    held = rng.random((CHUNK, CUSTOMERS)) < HOLDOUT
    scale = np.exp(kind.differ * rng.normal(size=held.shape))
    value, count, cases = np.zeros(held.shape), np.zeros(held.shape), np.zeros((CHUNK, 2))
    naive, all_ = np.zeros((CHUNK, 2)), np.zeros((CHUNK, 2))
    missed = {"waiting": np.zeros(CHUNK, bool), "at_once": np.zeros(CHUNK, bool), "fixed_horizon": np.zeros(CHUNK, bool)}
    looks, ours, truth = 0, np.full(CHUNK, np.nan), effect(kind)
    for day in range(DAYS + HORIZON):
        made = rng.random(held.shape) < ACTIVE
        fraud = made & (rng.random(held.shape) < kind.fraud)
        amount = np.exp(rng.normal(3, kind.spread, held.shape)) * scale
        caught = np.where(held, kind.baseline[0], kind.model[0])
        wrong = np.where(held, kind.baseline[1], kind.model[1])
        declined = made & (rng.random(held.shape) < np.where(fraud, caught, wrong))
        late = rng.integers(7, HORIZON + 1, held.shape)
        meant = np.where(fraud, amount, -0.05 * amount - 2)  # what declining is worth
        if kind.through:
            passed = declined & (rng.random(held.shape) < kind.through)
            hidden = declined & ~passed
            plain = np.where(fraud & ~hidden, -amount, 0.0)  # what is seen: a declined case looks like nothing
            worth = plain + np.where(passed, (1 / kind.through - 1) * meant, 0.0)
            seen, rejected = fraud & ~hidden, np.where(hidden, -0.05 * amount - 2, 0.0)
            known = seen & (day + late < DAYS + HORIZON)
            naive += _by_arm(held, np.where(known, -amount, rejected))
        else:
            rejected = -np.where(declined, 0.05 * amount + 2, 0.0)  # what it is worth while no fraud is known
            seen = fraud
            worth = np.where(fraud, np.where(declined, amount, -amount), rejected)
            known = fraud & (day + late < DAYS + HORIZON)
            naive += _by_arm(held, np.where(known, worth, rejected))
        all_ += _by_arm(held, made)
        if day >= DAYS:
            continue  # not final at the last look
        value, count, cases = value + worth * made, count + made, cases + _by_arm(held, seen)
        if (day + 1) % EVERY:
            continue
        for i in range(CHUNK):
            estimate, deviation, n = _estimated(value[i], count[i], held[i])
            interval, error = asymptotic(estimate, deviation, n, ALPHA), estimate - truth
            out = not interval.low <= truth <= interval.high
            enough = bool(cases[i].min() >= FEWEST_CASES)
            looks += enough
            missed["at_once"][i] |= out
            missed["waiting"][i] |= out and enough
            missed["fixed_horizon"][i] |= abs(error) > 1.959964 * deviation / math.sqrt(n)
            ours[i] = error
    _same(value[0], count[0], held[0])
    errors = naive[:, 0] / all_[:, 0] - naive[:, 1] / all_[:, 1] - truth
    return {"looks": looks, "ours": ours.tolist(), "naive": errors.tolist(),
            **{name: int(found.sum()) for name, found in missed.items()}}


def _by_arm(held: Any, what: Any) -> Floats:
    """Sums over treated and held out customers, (pilots, 2)."""
    return np.stack([(what * ~held).sum(1), (what * held).sum(1)], 1).astype(float)


def _same(value: Floats, count: Floats, held: Any) -> None:
    """What is judged here is what the product says."""
    groups = Groups()
    for v, c, h, i in zip(value, count, held, range(len(value)), strict=True):
        (groups.holdout if h else groups.treated)[str(i)] = [float(c), float(v)]
    for totals in (groups.holdout, groups.treated):
        for name in [name for name, (c, _) in totals.items() if c == 0]:
            del totals[name]
    estimate, deviation, n = _estimated(value, count, held)
    said, ours = per_decision(groups, ALPHA), asymptotic(estimate, deviation, n, ALPHA)
    assert np.allclose([said.value, said.low, said.high], [ours.value, ours.low, ours.high])


def _estimated(value: Floats, count: Floats, held: Any) -> tuple[float, float, int]:
    """As `objective.effect` does, of arrays: estimate, deviation, customers."""
    parts = [(value[of & (count > 0)], count[of & (count > 0)]) for of in (~held, held)]
    means = [v.sum() / c.sum() for v, c in parts]
    spread = sum(len(v) / (len(v) - 1) * ((v - m * c) ** 2).sum() / c.sum() ** 2
                 for (v, c), m in zip(parts, means, strict=True))
    n = sum(len(v) for v, _ in parts)
    return float(means[0] - means[1]), math.sqrt(spread * n), n


def main() -> None:
    """Simulate and sum up."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--pilots", type=int, default=2700, help="all kinds together")
    args.add_argument("--seed", type=int, default=1)
    given = args.parse_args()
    each = max(1, given.pilots // len(KINDS) // CHUNK)
    tasks = [(number, given.seed * 10_000 + i) for number in range(len(KINDS)) for i in range(each)]
    with step(f"{len(tasks) * CHUNK} pilots"), multiprocessing.get_context("spawn").Pool() as pool:
        done = pool.map(pilots, tasks, chunksize=1)
    kinds = {}
    for number, kind in enumerate(KINDS):
        parts, n = done[number * each : (number + 1) * each], each * CHUNK
        kinds[kind.name] = {
            "pilots": n, "effect": effect(kind), "looks_with_an_interval": sum(p["looks"] for p in parts) / n / (DAYS // EVERY),
            **{f"coverage_{name}": 1 - sum(p[name] for p in parts) / n for name in ("waiting", "at_once", "fixed_horizon")},
            "our_bias": float(np.mean([p["ours"] for p in parts])), "naive_bias": float(np.mean([p["naive"] for p in parts]))}
    write("value", {
        "pilots": len(tasks) * CHUNK, "stated": 1 - ALPHA, "coverage_every_look": _worst(kinds, "coverage_waiting"),
        "coverage_without_waiting": _worst(kinds, "coverage_at_once"),
        "coverage_fixed_horizon": _worst(kinds, "coverage_fixed_horizon"),
        **{name: max((k[name] / abs(k["effect"]) for k in kinds.values() if k["effect"]), key=abs)
           for name in ("our_bias", "naive_bias")},
        "looks": DAYS // EVERY, "blocking": [kind.name for kind in KINDS if kind.through], "kinds": kinds})


def _worst(kinds: dict[str, dict[str, float]], name: str) -> float:
    return min(kind[name] for kind in kinds.values())


if __name__ == "__main__":
    main()
