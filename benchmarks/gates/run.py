"""Gates in simulated rollouts: A/A on all kinds of traffic with a look after every batch, a challenger that is worse by exactly
the margin, and how soon regressions are caught; beside a fixed-horizon test and the rules others write. Writes
``out/bench/gates.json``.

Seeded; what is done is kept in ``out/bench/gates-*.parts``, and a run that was ended goes on from there.

Usage: python -m benchmarks.gates.run [--rollouts N] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import on_disk, step, write
from benchmarks.gates import rivals, twins
from benchmarks.gates.twins import TWINS
from benchmarks.gates.worlds import WORLDS, World, lognormal, looks
from flightworthy.objective import counterfactual, evidence, gates
from flightworthy.objective.evidence import Floats, above_ratio, above_zero, scale_of
from flightworthy.objective.gates import FEWEST, Risk, better

ALPHA = 0.05
RISK = Risk(ALPHA, ALPHA).of(2)  # two gates: errors, and value
PAIRS, DAYS, CHUNK = 400, 40, 250
REGRESSIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.25)
INTERVALS, BATCH = 200, 2000  # of the table of power, and decisions of an arm in each


def alike(world: World, seed: int) -> dict[str, float]:
    """Rollouts of a challenger that is no other: how many were rolled back, at any look, by us and by a fixed-horizon test; and
    of one that is worse by the margin: how many were found fine."""
    ours, naive, fine = np.zeros(CHUNK, bool), np.zeros(CHUNK, bool), np.zeros(CHUNK, bool)
    for seen in looks(world, np.random.default_rng([seed, 1]), CHUNK, PAIRS, DAYS):
        ours |= better(-seen.value, seen.count, 0.0) >= -math.log(RISK.rollback)
        ours |= above_ratio(seen.inside, seen.errors, [world.share]) >= -math.log(RISK.rollback)
        naive |= rivals.significant(-rivals.z_of_values(seen.value, seen.count))
        naive |= rivals.significant(rivals.z_of_rates(seen.inside, seen.errors, seen.exposed))
    for day, seen in enumerate(looks(world, np.random.default_rng([seed, 2]), CHUNK, PAIRS, DAYS, world.margin)):
        if PAIRS * (day + 1) // DAYS >= FEWEST:
            fine |= better(seen.value, seen.count, -world.margin) >= -math.log(RISK.advance)
    return {"rollouts": CHUNK, "rolled_back": int(ours.sum()), "naive": int(naive.sum()), "advanced": int(fine.sum())}


def caught(what: str, regression: float, seed: int) -> dict[str, Any]:
    """The interval at which each way rolled a worse challenger back, -1 where never."""
    rng = np.random.default_rng([seed, 3])
    found = _errors(rng, regression) if what == "errors" else _value(rng, regression)
    return {name: at.tolist() for name, at in found.items()}


def _errors(rng: np.random.Generator, regression: float) -> dict[str, Floats]:
    """One decision in a hundred fails, and relatively more of the challenger's."""
    bad, good = (rng.binomial(BATCH, 0.01 * r, (CHUNK, INTERVALS)).astype(float) for r in (1 + regression, 1.0))
    inside, errors = np.cumsum(bad, 1), np.cumsum(bad + good, 1)
    exposed = BATCH * np.arange(1, INTERVALS + 1)
    z = [rivals.z_of_rates(inside[:, [i]], errors[:, [i]], np.array([exposed[i]] * 2)) for i in range(INTERVALS)]
    log_e = above_ratio(inside[..., None], errors[..., None], [0.5])
    return {"flightworthy": rivals.first(log_e >= -math.log(RISK.rollback)),
            "fixed-horizon z": rivals.first(rivals.significant(np.stack(z, 1))),
            "threshold 1.1x": rivals.threshold(bad, good), "Mann-Whitney": rivals.mann_whitney(bad, good)}


def _value(rng: np.random.Generator, regression: float) -> dict[str, Floats]:
    """Decisions are worth 1 on average, heavy-tailed, and relatively less when they are the challenger's."""
    total, squares, means = np.zeros((CHUNK, INTERVALS)), np.zeros((CHUNK, INTERVALS)), np.zeros((2, CHUNK, INTERVALS))
    for i in range(INTERVALS):
        worse, good = lognormal(rng, (CHUNK, BATCH)) - regression, lognormal(rng, (CHUNK, BATCH))
        total[:, i], squares[:, i] = (worse - good).sum(1), ((worse - good) ** 2).sum(1)
        means[:, :, i] = -worse.mean(1), -good.mean(1)
    s, v = total.cumsum(1), squares.cumsum(1)
    log_e = above_zero(-s, v, scale_of(v, BATCH * np.arange(1, INTERVALS + 1)))
    return {"flightworthy": rivals.first(log_e >= -math.log(RISK.rollback)),
            "fixed-horizon z": rivals.first(rivals.significant(-s / np.sqrt(v))),
            "Mann-Whitney": rivals.mann_whitney(*means)}


def main() -> None:
    """Simulate what is not there yet, then sum up."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--rollouts", type=int, default=10_000, help="for each kind of traffic; of the table of power a tenth")
    args.add_argument("--seed", type=int, default=1)
    given = args.parse_args()
    chunks = max(1, given.rollouts // CHUNK)
    work = [("alike", world.name, 0.0, given.seed * 1_000_000 + i) for world in WORLDS for i in range(chunks)]
    work += [("same", kind.name, 0.0, given.seed * 1_000_000 + i) for kind in TWINS
             for i in range(max(1, given.rollouts // 10 // twins.CHUNK))]
    work += [("caught", what, worse, given.seed * 1_000_000 + i) for what in ("errors", "value") for worse in REGRESSIONS
             for i in range(max(1, chunks // 10))]
    done = dict(_run(work))
    found = [(key, done[key]) for key in work]
    worlds = {name: _summed([part for _, part in parts]) for name, parts in groupby(
        (pair for pair in found if pair[0][0] == "alike"), lambda pair: pair[0][1])}
    same = {name: _summed([part for _, part in parts]) for name, parts in groupby(
        (pair for pair in found if pair[0][0] == "same"), lambda pair: pair[0][1])}
    power = [_power(what, worse, [part for _, part in parts]) for (what, worse), parts in groupby(
        (pair for pair in found if pair[0][0] == "caught"), lambda pair: (pair[0][1], pair[0][2]))]
    write("gates", {"aa": {"rollouts": sum(w["rollouts"] for w in worlds.values()), "alpha": ALPHA, **{
        name: max(w[name] for w in worlds.values()) for name in ("false_rollback", "false_promotion", "naive_false_rollback")}},
        "worlds": worlds, "twins": {"rollouts": sum(w["rollouts"] for w in same.values()), **{
            name: max(w[name] for w in same.values()) for name in ("false_rollback", "false_promotion", "naive_false_rollback")},
            "worlds": same}, "power": power, "rivals": sorted({name for row in power for name in row["ways"]} - {"flightworthy"}),
        "pairs": PAIRS, "looks": DAYS, "intervals": INTERVALS, "decisions_per_interval": BATCH})


def _run(work: list[Any]) -> Iterator[tuple[Any, Any]]:
    """What was kept of an earlier run, then the rest, each kept as soon as it is done."""
    kept = on_disk() / f"gates-{_code()}.parts"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {tuple(key): found for key, found in lines}
    yield from done.items()
    left = [key for key in work if key not in done]
    with step(f"{len(left)} of {len(work)} parts"), kept.open("a") as file, \
            multiprocessing.get_context("spawn").Pool() as pool:
        for key, found in pool.imap_unordered(_part, left):
            file.write(json.dumps([key, found]) + "\n")
            file.flush()
            yield key, found


def _code() -> str:
    """What decides the outcome: parts that other code made are not taken for this one's."""
    modules = (evidence, gates, rivals, twins, counterfactual, sys.modules[World.__module__], sys.modules[__name__])
    files = [Path(module.__file__ or "") for module in modules]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _part(key: tuple[str, str, float, int]) -> tuple[Any, Any]:
    kind, name, worse, seed = key
    act: Callable[[], Any] = partial(caught, name, worse, seed)
    if kind == "alike":
        act = partial(alike, next(w for w in WORLDS if w.name == name), seed)
    if kind == "same":
        act = partial(twins.same, next(k for k in TWINS if k.name == name), seed, RISK)
    return key, act()


def _summed(parts: list[dict[str, int]]) -> dict[str, float]:
    total = {name: sum(part[name] for part in parts) for name in parts[0]}
    n = total["rollouts"]
    return {"rollouts": n, "false_rollback": total["rolled_back"] / n, "false_promotion": total["advanced"] / n,
            "naive_false_rollback": total["naive"] / n}


def _power(what: str, regression: float, parts: list[dict[str, list[int]]]) -> dict[str, Any]:
    """How often, after how many decisions of the challenger (median), and at what cost until then: errors more than the champion
    makes, or money less."""
    each = regression * (0.01 if what == "errors" else 1.0)
    ways = {}
    for name in parts[0]:
        at = np.concatenate([part[name] for part in parts])
        needed = np.where(at < 0, INTERVALS, at + 1) * BATCH
        ways[name] = {"caught": float((at >= 0).mean()), "decisions": int(np.median(needed)), "lost": float(needed.mean() * each)}
    return {"gate": what, "regression": regression, "ways": ways}


if __name__ == "__main__":
    main()
