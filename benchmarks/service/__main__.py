"""The governed service beside an echo and beside model servers without governance; writes ``out/bench/service.json``.

Usage: python -m benchmarks.service [--only NAME[,NAME]] [--seconds N] [--rounds N] [--page]

All servers are measured in turns, several times; of each the round with its median rate is shown. A machine that is slower
for some minutes would else decide who is faster. With --only it writes ``out/bench/service_only.json``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, step, write
from benchmarks.service.envs import PeerError
from benchmarks.service.measure import measure
from benchmarks.service.page import page, table
from benchmarks.service.prepare import Ground, prepared
from benchmarks.service.servers import OURS, SERVERS

# What a peer that misbehaves can lead to; a mistake of the benchmark's own still ends the run.
FAILURES = (PeerError, OSError, ValueError, LookupError, http.client.HTTPException, subprocess.SubprocessError)
PAGE = Path("docs/benchmarks-service.md")


def main() -> None:
    """Measure every server, one after the other, and all of them again."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--only", default="", help="servers to try, with commas between")
    args.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    args.add_argument("--rounds", type=int, default=3, help="how often each server is measured")
    args.add_argument("--page", action="store_true", help=f"also write {PAGE}")
    given = args.parse_args()
    names = [name.strip() for name in given.only.split(",") if name.strip()] or list(SERVERS)
    if unknown := set(names) - SERVERS.keys():
        args.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    ground = prepared()
    turns = [{name: attempt(name, ground, given.seconds) for name in names} for _ in range(given.rounds)]
    found = {name: typical([turn[name] for turn in turns]) for name in names}
    result = {"seconds": given.seconds, "rounds": given.rounds, "machine": machine(), **arranged(found)}
    name = "service_only" if given.only else "service"  # a trial does not take the place of the whole
    write(name, result)
    print("\n" + table(result))
    if given.page:
        PAGE.write_text(page(json.loads((OUT / f"{name}.json").read_text())), encoding="utf-8")
        print(f"→ {PAGE}")


def attempt(name: str, ground: Ground, seconds: float) -> dict[str, Any]:
    """The figures of one server, or why there are none."""
    try:
        with step(name):
            return measure(SERVERS[name], ground, seconds)
    except FAILURES as error:
        print(f"{name}: {error!r}")
        return {"failed": str(error) if isinstance(error, PeerError) else repr(error)}


def typical(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round with the median rate (the lower of two), and the rates of all; why there is none where every round failed."""
    well = sorted((found for found in rounds if "rps" in found), key=lambda found: found["rps"])
    if not well:
        return rounds[-1]
    return {**well[(len(well) - 1) // 2], "rps_of_rounds": [found.get("rps") for found in rounds]}


def arranged(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Our servers by name, the others under ``peers``, and the fastest of those that are written in Python."""
    peers = {name: figures for name, figures in found.items() if name not in OURS}
    result: dict[str, Any] = {name: figures for name, figures in found.items() if name in OURS}
    result["peers"] = peers
    python = {name: figures["rps"] for name, figures in peers.items() if name != "triton" and "rps" in figures}
    if python:
        best = max(python, key=lambda name: python[name])
        result["best_python_peer"] = {"name": best, "rps": python[best]}
    return result


def machine() -> dict[str, Any]:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"processor": model, "cores": os.cpu_count(), "kernel": platform.release()}


if __name__ == "__main__":
    main()
