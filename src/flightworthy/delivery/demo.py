"""The whole way of a pilot in one go: data, training, decisions, outcomes, value, replay, report."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flightworthy.decision.engine import Engine
from flightworthy.decision.replay import replay
from flightworthy.decision.rooms import Rooms
from flightworthy.delivery.elsewhere import Elsewhere
from flightworthy.delivery.evidence import Evidence, gather, summary
from flightworthy.delivery.report.page import render
from flightworthy.delivery.rollouts import rehearse, rivals
from flightworthy.ground import figures
from flightworthy.ground.clock import micros
from flightworthy.ground.errors import DataError
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import Records, Source, chunked, rows
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import Peek, merged

Bar = Callable[..., AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Material:
    """What a demonstration works on: a past to learn from (and the same as
    records, for the features to remember), a stream to decide, and the moment of the report."""

    past: Iterable[Any]
    history: Iterable[Records]
    live: Iterable[Records]
    outcomes: list[Raw]
    trained_at: int | None
    now: int | None
    origin: str
    rivals: dict[str, Any] | None = None  # how the champion and the challengers of its rollouts are made


def simulated(pilot: Pilot, folder: Path, seed: int) -> Material:
    """Data of the pilot's own simulator. Raises `DataError` when it has none."""
    path = pilot.folder / "simulate.py"
    if not path.is_file():
        raise DataError("this pilot has no simulator", where=str(pilot.folder), expected="simulate.py with simulate()",
                        next_step="give your own file: --data FILE")
    spec = importlib.util.spec_from_file_location("flightworthy_simulator", path)
    if spec is None or spec.loader is None:
        raise DataError("cannot load the simulator", where=str(path))
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made = module.simulate(folder, seed)
    before = _lines(folder / made["history_outcomes"])
    history, live = (Chunks(learn.open_source(str(folder / made[name]), pilot)) for name in ("history", "live"))
    past = learn.labelled(pilot, rows(iter(history)), learn.outcomes_by_id(pilot, before))
    outcomes = before + _lines(folder / made["live_outcomes"])
    return Material(past, history, live, outcomes, _instant(made["trained_at"]), _instant(made["now"]),
                    f"Simulated data (seed {seed}): no real person or company is in it.", made.get("rivals"))


def given(pilot: Pilot, data: str) -> Material:
    """A user's own labelled file: its first half (by record) is the past, the second is decided."""
    records = list(rows(learn.open_source(data, pilot).chunks()))
    if not any(row.label is not None for row in records):
        raise DataError("the file has no labels to learn from", where=data,
                        expected=f"a column {[pilot.manifest.outcomes.label, *pilot.manifest.outcomes.columns]}")
    peek = Peek(pilot)
    records.sort(key=lambda row: peek.event(row.raw)[0] or -(2**62))
    half = len(records) // 2
    start = peek.event(records[half].raw)[0]
    return Material(learn.labelled(pilot, records[:half]), chunked(records[:half]), chunked(records[half:]), [], start, None,
                    f"Data: {Path(data).name}.")


class Chunks:
    """The records of a source, as often as one likes."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Records]:
        return iter(self._source.chunks())


def run(pilot: Pilot, material: Material, out: Path, bar: Bar, elsewhere: Elsewhere | None = None) -> Evidence:
    """Walk the whole line and write ``summary.json`` and ``report.html`` into ``out``. ``elsewhere``: other servers for events,
    ledger and state; the rollouts are rehearsed on the embedded ones."""
    embedded, elsewhere = pilot, elsewhere or Elsewhere()
    pilot = elsewhere.move(pilot)
    var = out / "var"
    if var.exists():
        shutil.rmtree(var)
    with bar("training on the past"):
        learned = learn.learn(pilot, material.past, var, material.trained_at)
    engine = Engine.open(pilot, var)
    elsewhere.check(engine)
    newest = [material.now or 0]
    with bar("deciding the stream") as advance:
        lots = merged(pilot, material.live, material.outcomes, material.now, material.history)
        if elsewhere.events:
            engine.close()
            report = elsewhere.decide(pilot, var, lots, advance)
            engine = Engine.open(pilot, var)
        else:
            report = stream.run(engine, lots, "live", watch=lambda r: advance(r.records))
        newest[0] = material.now or engine.admission.watermark
        memory = engine.state.report()
        engine.close()
    where = Rooms.of(pilot, var)
    ledger = where.open_ledger(read_only=True)
    with bar("replaying every decision"):
        vault = where.open_vault(pilot, ledger)
        replayed = replay(pilot, ledger, where.models, vault=vault)
    with bar("pricing", report.decisions) as advance:
        trained = learned.trained
        evidence = gather(pilot, ledger, newest[0], report, replayed, trained.metrics, trained.gain,
                          trained.artifact.digest, memory, advance, vault)
    ledger.close()
    if material.rivals is not None and material.trained_at is not None:
        with bar("training a champion and its challengers"):
            models = rivals(embedded, learned.history, learned.trained.artifact, material.rivals, material.trained_at)
        evidence.rollouts = rehearse(embedded, material.rivals, models, newest[0],
                                     lambda: merged(pilot, material.live, material.outcomes, material.now, material.history),
                                     out / "rollouts", bar, report.records)
    with bar("drawing the report"):
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").write_text(render(evidence, material.origin), encoding="utf-8")
        figures.write(out / "summary.json", summary(evidence))
    return evidence


def _lines(path: Path) -> list[Raw]:
    return [line for line in path.read_bytes().splitlines() if line.strip()]


def _instant(text: str) -> int:
    return micros(datetime.fromisoformat(text))
