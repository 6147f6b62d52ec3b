"""What every run needs, made once: a history, a model trained on it by the product itself, and the model for the peers."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

import flightworthy
from benchmarks.common import step
from benchmarks.service.envs import CACHE
from benchmarks.service.events import INPUTS, Payments, payments
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.model.artifact import ModelStore
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged

PILOT = Path(__file__).parent / "pilot"
EVENTS, DAYS, LEAVE_DAYS = 60_000, 30, 2


@dataclass(frozen=True)
class Ground:
    """Where things are: ``var`` is a pristine folder of a service, ``model`` and ``inputs`` are for peers."""

    folder: Path
    var: Path
    model: Path
    inputs: Path

    def fresh_var(self, where: Path) -> Path:
        """A copy to serve from, with the history in its ledger and nothing decided yet."""
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree(self.var, where)
        return where


def prepared() -> Ground:
    """Train, or find what an earlier run trained from the same manifest, data and code of ours."""
    sources = [PILOT / "pilot.yaml", Path(__file__), Path(__file__).parent / "events.py",
               *sorted(path for path in Path(flightworthy.__file__).parent.rglob("*") if path.suffix in (".py", ".sql"))]
    manifest = load(PILOT).digest
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources) + manifest.encode()).hexdigest()[:12]
    folder = (CACHE / f"service-{digest}").absolute()
    ground = Ground(folder, folder / "var", folder / "model.txt", folder / "inputs.json")
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _make(ground)
        (folder / "ready").touch()
    return ground


def _make(ground: Ground) -> None:
    pilot, past = load(PILOT), ground.folder / "past.parquet"
    with step("history and training"):
        _write_history(past, payments(EVENTS), DAYS)
        source = learn.open_source(str(past), pilot)
        learn.learn(pilot, list(learn.labelled(pilot, rows(source.chunks()))), ground.var)
    with step("the past into the ledger"):
        from flightworthy.decision.engine import Engine

        engine = Engine.open(pilot, ground.var)
        lots = merged(pilot, (), [], history=learn.open_source(str(past), pilot).chunks())
        stream.run(engine, lots, "past")
        engine.close()
    content = ModelStore(ground.var / "models").champion().content
    ground.model.write_text(content["parts"]["booster"])
    ground.inputs.write_text(json.dumps(content["inputs"]))
    assert tuple(content["inputs"]) == INPUTS, "the model sees another order of inputs than the requests give"


def _write_history(path: Path, rows: Payments, days: float) -> None:
    """Payments over ``days`` that end `LEAVE_DAYS` before now, so that a replayed day comes after them."""
    n = len(rows.card)
    end = int(time.time()) - int(LEAVE_DAYS * 86400)
    seconds = np.sort(np.random.default_rng(7).uniform(end - days * 86400, end, n)).astype(np.int64)
    columns: dict[str, Any] = {"seconds": seconds, "i": np.arange(n), "card_id": rows.card, "terminal_id": rows.terminal,
                               **dict(zip(INPUTS, rows.x.T, strict=True)), "fraud": rows.fraud}
    db = duckdb.connect()
    parts = ", ".join(f"unnest(${name}) AS {name}" for name in columns)
    db.execute(f"CREATE TABLE t AS SELECT {parts}", {name: values.tolist() for name, values in columns.items()})
    db.execute("COPY (SELECT 'past-' || i AS transaction_id, make_timestamp(seconds::BIGINT * 1000000) AS tx_time, card_id, "
               f"terminal_id, {', '.join(INPUTS)}, fraud FROM t ORDER BY seconds) TO '{path}' (FORMAT parquet)")
    db.close()
