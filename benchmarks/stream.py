"""Events from a Parquet file through the whole spine to durable decisions, beside the model alone and the kernel alone.

Usage: python -m benchmarks.stream [--events N] [--largest ENTITIES]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import traffic
from benchmarks.common import step, write
from flightworthy.decision.engine import Engine
from flightworthy.decision.learn import read_history
from flightworthy.decision.line import Line
from flightworthy.integration.features.plan import compile_groups
from flightworthy.integration.features.state import FeatureState, Rows
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import ModelStore
from flightworthy.model.lightgbm import Booster
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged

HERE = Path(__file__).parent
BATCH, RUNS = stream.BATCH, 5


def main() -> None:
    """Measure and write ``out/bench/stream.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--events", type=int, default=400_000)
    args.add_argument("--largest", type=int, default=10_000_000, help="entities of the largest growth step")
    given = args.parse_args()
    pilot = load(HERE / "stream.yaml")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(pilot, Path(folder), given.events)
    with step("kernel"):
        found["kernel_events_per_second"] = kernel_rate(pilot)
    found["growth"] = []
    entities = 10_000
    while entities <= given.largest:
        with step(f"growth {entities:,}"):
            found["growth"].append(growth(pilot, entities))
        entities *= 10
    write("stream", found)


def measure(pilot: Pilot, folder: Path, events: int) -> dict[str, Any]:
    """Train on a first file, decide a second one; then the model alone on the same batches."""
    with step("traffic and training"):
        traffic.write(folder / "past.parquet", 150_000, seed=1)
        traffic.write(folder / "live.parquet", events, seed=2)
        past = learn.labelled(pilot, rows(learn.open_source(str(folder / "past.parquet"), pilot).chunks()))
        learn.learn(pilot, past, folder / "var")
    runs = []
    for attempt in range(RUNS):
        with step(f"stream, run {attempt + 1} of {RUNS}"):
            shutil.rmtree(folder / "run", ignore_errors=True)
            shutil.copytree(folder / "var", folder / "run")
            engine = Engine.open(pilot, folder / "run", snapshots=False)
            lots = merged(pilot, learn.open_source(str(folder / "live.parquet"), pilot).chunks())
            report = stream.run(engine, lots, "live")
            runs.append((report.decisions / report.seconds, report))
            engine.ledger.close() if attempt < RUNS - 1 else None
    rate, report = sorted(runs, key=lambda run: run[0])[RUNS // 2]
    with step("model alone"):
        frames = real_frames(pilot, folder / "live.parquet")
        alone = {threads: sorted(model_rate(engine, threads, frames) for _ in range(RUNS))[RUNS // 2] for threads in (1, 2)}
    total = sum(report.stages.values())
    return {
        "decisions": report.decisions, "decisions_per_second": rate, "outcomes": report.outcomes,
        "runs": [round(r) for r, _ in runs], "window_features": len(pilot.columns), "inputs": len(pilot.inputs),
        "trees": 200, "batch": BATCH, "model_rows_per_second": alone[2], "model_rows_per_second_one_core": alone[1],
        "times_slower_than_model": alone[2] / rate,
        "stages": {name: {"microseconds_per_decision": 1e6 * s / report.decisions, "share": s / total}
                   for name, s in report.stages.items()},
        "bytes_per_entity": {r["group"]: r["bytes_per_entity"] for r in engine.state.report()},
        "ledger_bytes_per_decision": sum(f.stat().st_size for f in (folder / "run").glob("ledger.db*")) / report.decisions,
    }


def real_frames(pilot: Pilot, path: Path, batches: int = 20) -> list[Any]:
    """What the model saw of the stream's first batches."""
    line = Line(pilot, {})
    first = islice(rows(learn.open_source(str(path), pilot).chunks()), batches * BATCH)
    x = line.inputs(read_history(line, learn.labelled(pilot, first)).frame)
    return [x[i : i + BATCH] for i in range(0, len(x), BATCH)]


def model_rate(engine: Engine, threads: int, frames: list[Any]) -> float:
    """Rows a second of the champion in LightGBM's own library on the stream's own batches, nothing else running."""
    model = Booster(ModelStore(engine.models_folder).champion().content["parts"]["booster"], threads)
    model.predict(frames[0])
    started = time.perf_counter()
    for frame in frames:
        model.predict(frame)
    return sum(map(len, frames)) / (time.perf_counter() - started)


def rows_of(n: int, entities: int, seed: int = 0, days: float = 60.0) -> Rows:
    """Random events of random entities in order of time."""
    rng = np.random.default_rng(seed)
    keys = rng.integers(entities, size=n)
    return Rows(np.zeros(n, np.int64), np.sort(rng.integers(0, int(days * 86400), n)) * 1_000_000, np.arange(n),
                np.zeros(n), {"amount": rng.integers(0, 100_000, n).astype(np.float64)},
                {"card_id": keys, "terminal_id": rng.permutation(keys)})


def kernel_rate(pilot: Pilot, n: int = 1_000_000) -> float:
    """Events a second through all groups of the kernel on one core, warm, best of three."""
    rows, best = rows_of(n, 10_000), 0.0
    for _ in range(3):
        state = FeatureState(compile_groups(pilot))
        started = time.perf_counter()
        state.apply(rows)
        best = max(best, n / (time.perf_counter() - started))
    return best


def growth(pilot: Pilot, entities: int) -> dict[str, Any]:
    """Time and memory with many entities: every one is seen, then a million events at random."""
    state = FeatureState(compile_groups(pilot)[:1])
    started = time.perf_counter()
    chunk = 1_000_000
    for first in range(0, entities, chunk):
        keys = np.arange(first, min(entities, first + chunk))
        n = len(keys)
        state.apply(Rows(np.zeros(n, np.int64), np.zeros(n, np.int64), keys, np.zeros(n), {"amount": np.full(n, 100.0)},
                         {"card_id": keys}))
    filled = time.perf_counter() - started
    rows = rows_of(1_000_000, entities, days=30)
    started = time.perf_counter()
    state.apply(rows)
    rate = 1_000_000 / (time.perf_counter() - started)
    report = state.report()[0]
    return {"entities": entities, "fill_seconds": round(filled, 2), "events_per_second": round(rate),
            "bytes_per_entity": report["bytes_per_entity"], "state_mb": round(report["bytes"] / 1e6),
            "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)}


if __name__ == "__main__":
    main()
