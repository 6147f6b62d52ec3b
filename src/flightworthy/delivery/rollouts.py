"""Rollouts of a demonstration: the same weeks once more for each challenger, with nobody at the controls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.decision.course import START, Course
from flightworthy.decision.engine import Engine
from flightworthy.decision.learn import History, table_of
from flightworthy.decision.line import Line
from flightworthy.decision.replay import replay
from flightworthy.decision.rollout import roll_all
from flightworthy.decision.rooms import Rooms
from flightworthy.decision.verdicts import VALUE
from flightworthy.decision.work import OUTCOME
from flightworthy.decision.worth import SAMPLED
from flightworthy.ground.clock import micros
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import Artifact, ModelStore
from flightworthy.model.metrics import roc_auc
from flightworthy.model.train import train
from flightworthy.objective.gates import Verdict
from flightworthy.objective.sequences import Interval
from flightworthy.operation import stream
from flightworthy.operation.feed import Lot, Peek
from flightworthy.operation.watching import Look, Watch

WHO = "demo"


@dataclass(frozen=True)
class Turn:
    """A step of a rollout: when in event time (microseconds), after how many decisions of the rollout, and why."""

    at: int
    decisions: int
    step: str
    why: str


@dataclass
class Rollout:
    """What became of a challenger. ``tried``: decisions it took, and what they were worth more than the champion's;
    ``everybody``: the same over all of the rollout, had it decided all of them; ``ranking``: AUC of challenger and champion on
    the same decisions; ``seen``: what the value gate said, look by look."""

    name: str
    says: str
    model: str
    turns: list[Turn] = field(default_factory=list)
    gates: dict[str, Verdict] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)
    state: str = ""
    tried: tuple[int, float] = (0, 0.0)
    everybody: tuple[int, float] = (0, 0.0)
    ranking: tuple[float, float] = (float("nan"), float("nan"))
    seen: list[tuple[int, Interval]] = field(default_factory=list)
    replayed: tuple[int, int] = (0, 0)  # decisions, mismatches


def rivals(pilot: Pilot, history: History, newest: Artifact, told: dict[str, Any],
           now: int) -> tuple[Artifact, dict[str, Artifact]]:
    """The champion and its challengers, by name; ``newest``: the manifest's own model, trained at ``now`` as they are. Raises
    `ModelError`."""
    line = Line(pilot, {})
    before = train(pilot, table_of(pilot, line, history, micros(datetime.fromisoformat(told["champion_at"]))))
    return before.artifact, {each["name"]: _train(pilot, line, history, each["model"], now) if each["model"] else newest
                             for each in told["challengers"]}


def _train(pilot: Pilot, line: Line, history: History, changes: dict[str, Any], now: int) -> Artifact:
    model = pilot.manifest.model
    params = {**model.params, **changes.get("params", {})}
    other = model.model_copy(update={**changes, "params": params})
    made = replace(pilot, manifest=pilot.manifest.model_copy(update={"model": other}))
    return train(made, table_of(made, line, history, now)).artifact


class Rehearsal:
    """One challenger over the stream; ``lots`` gives the past and the stream anew."""

    def __init__(self, pilot: Pilot, folder: Path, champion: Artifact, challenger: Artifact, out: Rollout) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        self._pilot, self._folder, self._out = pilot, folder, out
        rooms = Rooms.of(pilot, folder)
        store = ModelStore(rooms.models)
        store.save(champion)
        store.save(challenger, champion=False)
        self._engine = Engine.open(pilot, folder, snapshots=False)
        self._watch = Watch(pilot, [(self._engine.ledger, self._engine.vault)], rooms.models, self._take)
        self._decided, self._at, self._done = 0, 0, False

    def run(self, lots: Iterator[Lot], now: int, advance: Callable[[int], None], batch: int = stream.BATCH) -> Rollout:
        """Decide all, follow the gates, and settle what it was worth at ``now`` (event time)."""
        out = self._out
        stream.run(self._engine, self._needed(lots), "live", batch, watch=lambda r: advance(r.records), between=self._between)
        self._settle(now)
        self._engine.close()
        ledger = Rooms.of(self._pilot, self._folder).open_ledger(read_only=True)
        told = replay(self._pilot, ledger, Rooms.of(self._pilot, self._folder).models, vault=self._engine.vault)
        ledger.close()
        out.replayed = told.decisions, told.mismatches
        return out

    def _needed(self, lots: Iterator[Lot]) -> Iterator[Lot]:
        """All of it until the rollout ends; then only the outcomes of what was decided."""
        peek = Peek(self._pilot)
        for lot in lots:
            if not self._done:
                yield lot
                continue
            told = [raw for raw, kind in zip(lot.raws, lot.kinds or (), strict=False) if kind == OUTCOME]
            ids = [str(peek.event(raw)[1]) for raw in told]
            decided = self._engine.ledger.find(ids)
            if kept := [raw for raw, name in zip(told, ids, strict=True) if name in decided]:
                yield Lot(kept, [OUTCOME] * len(kept))

    def _between(self, report: stream.StreamReport) -> None:
        if not report.decisions or self._done:
            return
        self._at, self._decided = self._engine.admission.watermark, report.decisions
        if not self._out.turns:
            self._take(START, Course(), self._out.says)
        self._note(self._watch.look())

    def _note(self, look: Look) -> None:
        out = self._out
        out.gates, out.waits = look.gates, look.waits
        out.seen.append((self._at, look.gates[VALUE].interval))
        self._done = not self._engine.course().open

    def _take(self, step: str, _: Course, why: str) -> None:
        roll_all([self._engine], step, WHO, why, self._out.model if step == START else "")
        self._out.turns.append(Turn(self._at, self._decided, step, why))

    def _settle(self, now: int) -> None:
        out = self._out
        out.state = self._engine.course().state
        for worth in self._watch.settle(now):
            (mine, more), (theirs, otherwise) = worth.arms[True], worth.arms[False]
            out.tried, out.everybody = (int(mine), more), (int(mine + theirs), more + otherwise)
            ranked = np.array(worth.ranked, float).reshape(-1, 3)
            known = ranked[np.isfinite(ranked).all(1)]
            if not len(known):
                continue
            weight = np.where(known[:, 2] > 0, 1.0, SAMPLED)
            out.ranking = roc_auc(known[:, 2], known[:, 0], weight), roc_auc(known[:, 2], known[:, 1], weight)


def rehearse(pilot: Pilot, told: dict[str, Any], models: tuple[Artifact, dict[str, Artifact]], now: int,
             lots: Callable[[], Iterator[Lot]], out: Path, bar: Callable[..., Any], records: int,
             batch: int = stream.BATCH) -> list[Rollout]:
    """All challengers, one after the other, each with rooms of its own under ``out``."""
    champion, challengers = models
    done = []
    for each in told["challengers"]:
        name, challenger = each["name"], challengers[each["name"]]
        with bar(f"rollout of the challenger '{name}'", records) as advance:
            rehearsal = Rehearsal(pilot, out / name, champion, challenger, Rollout(name, each["says"], challenger.digest))
            done.append(rehearsal.run(lots(), now, advance, batch))
    return done

