"""Past saturation: how much is still decided when far more callers come than can be served.

Callers in a closed loop, each asking again as soon as it has an answer; those beyond the queue are refused at once and come back
at once, which is the worst a caller can do.

The levels are measured in turns, several times, and the median counts: a machine that slows down for a minute would else look
like a service that collapses.

Usage: python -m benchmarks.service.overload [--seconds S] [--rounds N]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import step, write
from benchmarks.service.capacity import closed_loop
from benchmarks.service.envs import CACHE
from benchmarks.service.events import payments, save, templates
from benchmarks.service.measure import DISTINCT
from benchmarks.service.prepare import prepared
from benchmarks.service.servers import SERVERS, started

CALLERS = (16, 64, 256, 1024, 4096, 8192)


def main() -> None:
    """Measure and write ``out/bench/overload.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    args.add_argument("--rounds", type=int, default=3, help="how often each level is measured")
    given = args.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection each, on both sides
    write("overload", overload(given.seconds, given.rounds))


def overload(seconds: float, rounds: int) -> dict[str, Any]:
    """Decisions a second by number of callers, and the least of them past the peak as a share of the peak."""
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="overload-", dir=CACHE.absolute()))
    server, measured = SERVERS["governed"], []
    try:
        with started(server, prepared(), work) as (tree, port, _):
            save(templates(payments(DISTINCT, seed=11), server.path, server.shape, port), work / "templates")
            closed_loop(port, work / "templates", 2.0, work, 64)
            for again in range(rounds):
                for callers in (*CALLERS, CALLERS[1]):
                    with step(f"{callers:,} callers, round {again + 1}"):
                        found = closed_loop(port, work / "templates", seconds, work, callers)
                    measured.append({"callers": callers, "decided_per_second": found["rps"], "refused": found["refused"],
                                     "errors": found["errors"] - found["refused"], "memory_mb": tree.memory_mb()["pss"]})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    turns = len(CALLERS) + 1
    levels = [_typical(measured[i::turns]) for i in range(turns)]
    rates = [level["decided_per_second"] for level in levels[:-1]]
    top = rates.index(max(rates))
    return {"peak": rates[top], "peak_callers": levels[top]["callers"], "levels": levels, "rounds": rounds,
            "least_past_peak_share": min(rates[top:]) / rates[top],
            "after_overload_share": levels[-1]["decided_per_second"] / rates[CALLERS.index(CALLERS[1])]}


def _typical(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure of one level."""
    rates = [one["decided_per_second"] for one in found]
    return {name: median(one[name] for one in found) for name in found[0]} | {"of_rounds": rates}


if __name__ == "__main__":
    main()
