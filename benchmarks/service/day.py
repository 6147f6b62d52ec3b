"""A whole day of decisions played fast against the governed service, or a soak at a steady rate.

Usage: python -m benchmarks.service.day [--speed 20] [--decisions 2000000]
       python -m benchmarks.service.day --soak MINUTES --rate R      (at half of R a second)
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import step, write
from benchmarks.service import arrivals
from benchmarks.service.envs import CACHE
from benchmarks.service.events import payments, save, templates
from benchmarks.service.load import Played, Player
from benchmarks.service.measure import DISTINCT
from benchmarks.service.prepare import prepared
from benchmarks.service.processes import Tree
from benchmarks.service.servers import SERVERS, started

DAY = 86_400
LONGEST_SOAK = 24 * 60


def main() -> None:
    """Run what was asked for and write ``out/bench/day.json`` or ``out/bench/soak.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--speed", type=float, default=20.0, help="how many times faster than life the day is")
    args.add_argument("--decisions", type=int, default=2_000_000)
    args.add_argument("--soak", type=float, default=0.0, help="minutes of a steady load instead of a day")
    args.add_argument("--rate", type=float, default=0.0, help="requests a second of which the soak takes half")
    given = args.parse_args()
    if given.soak and not (given.rate > 0 and 0 < given.soak <= LONGEST_SOAK):
        args.error(f"a soak needs --rate, and takes at most {LONGEST_SOAK} minutes")
    if given.soak:
        write("soak", soak(given.soak, given.rate / 2))
    else:
        write("day", day(given.decisions, given.speed))


def day(decisions: int, speed: float) -> dict[str, Any]:
    """Play a day that ended just now; its event times run as fast as the requests."""
    due = arrivals.day(decisions, speed)
    epoch = (int(time.time()) - DAY) * 1_000_000
    with step(f"{decisions:,} decisions at {speed:g} times the speed of life, {due[-1] / 60e9:.0f} minutes"):
        played, samples, counted = against_governed(due, epoch, speed)
    hours = np.minimum(due * speed / 3600e9, arrivals.HOURS - 1e-9).astype(int)
    rates = np.bincount(hours, minlength=24) * speed / 3600.0
    return {"requests": len(due), "decisions": counted, "dropped": played.bad, "speed": speed, "seconds": played.about["seconds"],
            **played.quantiles(), "rate_mean": float(rates.mean()), "rate_peak_hour": float(rates.max()),
            "p99_ms_by_hour": [played.quantiles(hours == h)["p99_ms"] for h in range(24)],
            "histogram": histogram(played), "memory": samples, **{k: v for k, v in played.about.items() if "generator" in k}}


def soak(minutes: float, rate: float) -> dict[str, Any]:
    """A steady load: memory and latency minute by minute, and whether they are flat."""
    due = arrivals.poisson(rate, minutes * 60)
    with step(f"{rate:,.0f} requests a second for {minutes:g} minutes"):
        played, samples, counted = against_governed(due, 0, 1.0)
    minute = (due // 60_000_000_000).astype(int)
    each = [{"minute": m, **played.quantiles(minute == m), "dropped": int((played.latency[minute == m] < 0).sum())}
            for m in range(int(minute[-1]) + 1)]
    memory = [s["pss_mb"] for s in samples]
    grown, slower = drift(memory, np.mean), drift([e["p99_ms"] for e in each], np.median)
    return {"minutes": minutes, "rate": rate, "requests": len(due), "decisions": counted, "dropped": played.bad,
            **played.quantiles(), "memory_mb_per_minute": slope(memory), "memory_last_to_middle": grown,
            "memory_flat": None if grown is None else grown <= 1.1, "p99_last_to_middle": slower,
            "p99_flat": None if slower is None else slower <= 1.5,
            "by_minute": each, "memory": samples, **{k: v for k, v in played.about.items() if "generator" in k}}


def against_governed(due: np.ndarray, epoch: int, speed: float) -> tuple[Played, list[dict[str, float]], int]:
    """Play a schedule; the run, memory once a minute, and how many decisions the service itself counted."""
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="day-", dir=CACHE.absolute()))
    server = SERVERS["governed"]
    try:
        with started(server, prepared(), work) as (tree, port, _):
            save(templates(payments(DISTINCT, seed=11), server.path, server.shape, port), work / "templates")
            player = Player(port, work / "templates", due, work, epoch=epoch, speed=speed, drain=30.0)
            try:
                samples = watched(tree, player)
                return player.result(), samples, decided(port)
            finally:
                player.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def watched(tree: Tree, player: Player) -> list[dict[str, float]]:
    """Memory of the service once a minute until the generator ends or its time is over."""
    began = time.monotonic()
    samples: list[dict[str, float]] = []
    while player.process.poll() is None and time.monotonic() - began < player.limit:
        elapsed = time.monotonic() - began
        if elapsed >= 60 * len(samples):
            memory = tree.memory_mb()
            samples.append({"minute": round(elapsed / 60, 2), "rss_mb": memory["rss"], "pss_mb": memory["pss"]})
        time.sleep(0.5)
    return samples


def decided(port: int) -> int:
    """Durable decisions by the service's own metrics."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    link.request("GET", "/metrics")
    lines = link.getresponse().read().decode().splitlines()
    link.close()
    return round(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("flightworthy_decisions_total")))


def histogram(played: Played) -> list[list[float]]:
    """Pairs of an upper bound in milliseconds and how many answers took at most that and more than the bound before."""
    good = played.latency[played.latency >= 0] / 1e6
    bounds = np.append(0.1 * 2 ** (np.arange(0, 72) / 4), np.inf)
    counts = np.bincount(np.searchsorted(bounds, good), minlength=len(bounds))
    return [[round(float(bound), 4), int(count)] for bound, count in zip(bounds, counts, strict=True) if count]


def slope(values: list[float]) -> float | None:
    """Growth from one minute to the next by least squares, without the first third, which fills caches; None: too short."""
    rest = values[len(values) // 3 :]
    return float(np.polyfit(np.arange(len(rest)), rest, 1)[0]) if len(rest) > 3 else None


def drift(values: list[Any], middle: Callable[[list[float]], Any]) -> float | None:
    """The last third by the one before it, without minutes without an answer: the first fills caches, and the newest events of
    each entity that features keep. None: too short."""
    rest = [value for value in values[1:] if value is not None]
    third = len(rest) // 3
    return float(middle(rest[-third:]) / middle(rest[third : 2 * third])) if third else None


if __name__ == "__main__":
    main()
