"""Features of a history larger than the memory given for it, on one machine; and on a sample of it beside what training computes
and beside Apache Spark: the same bits. Writes ``out/bench/backfill.json``.

Usage: python -m benchmarks.backfill [--events N] [--sample N] [--memory SIZE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.common import on_disk, step, write
from benchmarks.kafka.setting import PILOT
from benchmarks.kafka.traffic import LIFE, payments
from benchmarks.service.envs import locked
from flightworthy.decision.learn import History, read_history
from flightworthy.decision.line import Line
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation import learn

_MORE = """
    terminal:
      windows: [1d, 7d]
      aggregate: {n: count(), mean: mean(amount), sd: std(amount)}
    terminal_risk:
      by: terminal
      delay: 7d
      windows: [7d]
      aggregate: {n: count(), risk: mean(fraud)}
"""
_PATIENCE = 3600


def main() -> None:
    """Run and write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--events", type=int, default=12_000_000)
    args.add_argument("--sample", type=int, default=200_000)
    args.add_argument("--memory", default="256MB")
    given = args.parse_args()
    python, versions = locked("spark", Path("requirements/spark.lock"))
    with tempfile.TemporaryDirectory(dir=on_disk()) as place:
        found = {**large(Path(place), given.events, given.memory), "sample": compare(Path(place), given.sample, python)}
    write("backfill", found | {"versions": versions})
    sys.exit(1 if found["sample"]["mismatches_training"] or found["sample"]["mismatches_spark"] else 0)


def large(folder: Path, events: int, memory: str) -> dict[str, Any]:
    """Rate, peak memory, and what the file has."""
    manifest, data, outcomes = files(folder, events, "large")
    with step(f"{events} events"):
        started = time.perf_counter()
        command = [sys.executable, "-m", "flightworthy", "backfill", str(manifest), "--data", str(data),
                   "--outcomes", str(outcomes), "--to", str(folder / "large.parquet"), "--memory", memory]
        process = subprocess.Popen(command)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"backfill ended with {status}")
    with duckdb.connect() as db:
        (made,) = db.execute("SELECT count(*) FROM read_parquet(?)", [str(folder / "large.parquet")]).fetchone() or (0,)
    size = data.stat().st_size + outcomes.stat().st_size
    for path in (data, outcomes, folder / "large.parquet"):
        path.unlink()
    return {"events": made, "input_bytes": size, "memory_for_sorting": memory, "peak_memory_bytes": used.ru_maxrss * 1024,
            "peak_memory_of_input": used.ru_maxrss * 1024 / size, "seconds": seconds, "events_per_second": made / seconds}


def compare(folder: Path, events: int, python: Path) -> dict[str, Any]:
    """One file of features by each of three ways, and what differs."""
    manifest, data, outcomes = files(folder, events, "sample")
    more = ["--data", str(data), "--outcomes", str(outcomes)]
    run([sys.executable, "-m", "flightworthy", "backfill", str(manifest), *more, "--to", str(folder / "one.parquet")])
    with step("Spark"):
        started = time.perf_counter()
        run([str(python), "-m", "flightworthy", "backfill", str(manifest), *more, "--to", str(folder / "spark"),
             "--engine", "spark:local[2]"])
        seconds = time.perf_counter() - started
    with step("training's"):
        pilot = load(manifest)
        told = learn.outcomes_by_id(pilot, outcomes.read_bytes().splitlines())
        past = learn.labelled(pilot, rows(learn.open_source(str(data), pilot).chunks()), told)
        expected = by_training(pilot, read_history(Line(pilot, {}), past))
    one, spark = (columns(str(folder / name), pilot) for name in ("one.parquet", "spark/*.parquet"))
    return {"events": len(expected[pilot.manifest.events.id]), "features": len(pilot.feature_names), "seconds_spark": seconds,
            "mismatches_training": differ(expected, one), "mismatches_spark": differ(one, spark)}


def files(folder: Path, events: int, name: str) -> tuple[Path, Path, Path]:
    """A manifest with features by card and by terminal, and payments with all that is wrong in life."""
    manifest, data, outcomes = folder / "pilot.yaml", folder / f"{name}.ndjson", folder / f"{name}_outcomes.ndjson"
    manifest.write_text(PILOT.read_text().replace("  derived:\n", f"{_MORE.lstrip(chr(10))}  derived:\n"))
    with step("payments"), data.open("wb") as into, outcomes.open("wb") as told:
        for sent in payments(events, LIFE, cards=50_000):
            (told if sent.outcome else into).write(sent.value + b"\n")
    return manifest, data, outcomes


def run(command: list[str]) -> None:
    """Raises with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[3]}: {done.stderr[-2000:]}")


def by_training(pilot: Pilot, history: History) -> dict[str, Any]:
    """What training sees, in the order of ids."""
    line = Line(pilot, {})
    ids = np.array(line.contract.event_ids(history.events), object)
    order = np.argsort(ids, kind="stable")
    features = history.frame[:, line.frames.features]
    out = {name: features[order, i] for i, name in enumerate(pilot.feature_names)}
    return {pilot.manifest.events.id: ids[order], **out, pilot.manifest.outcomes.label: history.labels[order]}


def columns(path: str, pilot: Pilot) -> dict[str, Any]:
    """A table of features, in the order of ids."""
    with duckdb.connect() as db:
        found = db.execute("SELECT * FROM read_parquet(?)", [path]).fetchnumpy()
    order = np.argsort(found[pilot.manifest.events.id], kind="stable")
    return {name: np.ma.filled(column, np.nan)[order] if column.dtype == np.float64 else column[order]
            for name, column in found.items()}


def differ(expected: dict[str, Any], found: dict[str, Any]) -> int:
    """Values that are not the same bits, of all columns that are expected; every row where the events are not the same."""
    return sum(_different(column, found[name]) for name, column in expected.items())


def _different(one: Any, other: Any) -> int:
    if len(one) != len(other):
        return max(len(one), len(other))
    if one.dtype == np.float64:  # nothing is NaN, with whatever bits
        return int(((one.view(np.int64) != other.view(np.int64)) & ~(np.isnan(one) & np.isnan(other))).sum())
    here, there = (~np.ma.getmaskarray(column) for column in (one, other))
    return int((here != there).sum() + (np.ma.getdata(one)[here & there] != np.ma.getdata(other)[here & there]).sum())


if __name__ == "__main__":
    main()
