"""The second pilot on NASA's C-MAPSS FD001: trained on engines run to failure, asked for the test engines reading by
reading through the whole spine, judged at their last cycle.

Usage: python -m benchmarks.turbofan DIR (with train_FD001.parquet, test_FD001.parquet, RUL_FD001.csv)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np

from benchmarks.common import PILOTS, step, write
from benchmarks.handbook import parity
from flightworthy.decision.engine import Engine
from flightworthy.decision.learn import Labelled, read_history
from flightworthy.decision.line import Line
from flightworthy.decision.replay import replay
from flightworthy.decision.rooms import Rooms
from flightworthy.decision.statement import value
from flightworthy.decision.valuation import judge
from flightworthy.integration.sources import Row, chunked
from flightworthy.manifest.load import load
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged
from flightworthy.pilots.turbofan.health import SENSORS

CAP = 125.0


def readings(path: Path) -> list[dict[str, Any]]:
    """Rows of a file in order of time, with an id; the label apart, under `rul`."""
    names = ", ".join(SENSORS)
    rows = duckdb.execute(f"SELECT unit || '-' || cycle AS reading, unit, cycle, {names}, rul FROM read_parquet(?) "
                          "ORDER BY cycle, unit", [str(path)])
    columns = [c[0] for c in rows.description or []]
    return [dict(zip(columns, row, strict=True)) for row in rows.fetchall()]


def rows_of(table: list[dict[str, Any]]) -> Iterator[Row]:
    """As a source would give them, without the label."""
    for row in table:
        yield Row({k: v for k, v in row.items() if k != "rul"})


def main(data: str) -> None:
    """Train, decide, judge; write ``out/bench/turbofan.json``."""
    folder = Path(data)
    pilot = load(PILOTS / "turbofan")
    past, test = readings(folder / "train_FD001.parquet"), readings(folder / "test_FD001.parquet")
    final = duckdb.execute("SELECT unit, rul FROM read_csv(?) ORDER BY unit", [str(folder / "RUL_FD001.csv")]).fetchall()
    truth = dict(final)
    last = {row["unit"]: row["cycle"] for row in test}
    with tempfile.TemporaryDirectory() as place:
        var = Path(place)
        with step("training"):
            told = (Labelled(row.raw, float(r["rul"])) for row, r in zip(rows_of(past), past, strict=True))
            learned = learn.learn(pilot, told, var, now=2**60)
        engine = Engine.open(pilot, var)
        with step("deciding"):
            report = stream.run(engine, merged(pilot, chunked(rows_of(test))), "test")
            outcomes = [msgspec.json.encode({"reading": r["reading"],
                                             "rul": float(truth[r["unit"]] + last[r["unit"]] - r["cycle"])}) for r in test]
            engine.observe(outcomes)
            engine.close()
        where = Rooms.of(pilot, var)
        ledger = where.open_ledger(read_only=True)
        with step("replay and value"):
            again = replay(pilot, ledger, where.models)
            final_records: dict[int, Any] = {}
            worth = value(pilot, judge(pilot, ledger, 2**61),
                          lambda item: final_records.update({item.record.event.unit: item.record}))
        with step("parity"):
            line = Line(pilot, {})
            told = (Labelled(row.raw, float(r["rul"])) for row, r in zip(rows_of(past), past, strict=True))
            wrong = parity(line, read_history(line, told))
    answers = np.array([final_records[unit].outputs for unit, _ in final], np.float64)
    target = np.minimum(np.array([rul for _, rul in final], np.float64), CAP)
    off = answers[:, 0] - target
    write("turbofan", {
        "rmse": float(np.sqrt(np.mean(off**2))),
        "phm08_score": float(np.sum(np.where(off < 0, np.exp(-off / 13), np.exp(off / 10)) - 1)),
        "interval_coverage": float(np.mean((answers[:, 1] <= target) & (target <= answers[:, 2]))),
        "interval_width": float(np.mean(answers[:, 2] - answers[:, 1])), "interval_stated": pilot.manifest.model.interval,
        "decisions": report.decisions, "value": str(worth.realised), "value_against_baseline": worth.total(worth.paired).value,
        "parity_mismatches": wrong, "replay_mismatches": again.mismatches,
        "validation": {name: e.value for name, e in learned.trained.metrics.items()}})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
