"""Steps of a rollout, each an act in the ledger and one atomic change of who is decided by what."""

from __future__ import annotations

from flightworthy.decision.course import PROMOTE, ROLLOUT, START, STEPS, Course
from flightworthy.decision.engine import Engine, open_model
from flightworthy.decision.fallback import CHAMPION
from flightworthy.decision.record import ActRecord
from flightworthy.governance.ledger import ACT
from flightworthy.ground.errors import DataError
from flightworthy.model.artifact import ModelStore


def roll(engine: Engine, step: str, who: str, why: str, model: str = "") -> ActRecord:
    """Take a step; returns when it is durable and in force. ``model``: of a start, the beginning of the challenger's digest. No
    batch may be under way. Raises `DataError` when the step cannot be taken from here, `ModelError` when the challenger does not
    fit, `LedgerError` when it could not be written: then nothing has changed."""
    if step not in STEPS:
        raise DataError("a rollout knows no such step", found=step, expected=", ".join(STEPS))
    if not why:
        raise DataError("an act needs a reason", next_step="give --why")
    store, stages = ModelStore(engine.models_folder), engine.pilot.manifest.rollout.stages
    name = _challenger(engine, store, model) if step == START else ""

    def to(now: Course) -> Course:
        course = now.after(step, stages, name)
        if step == PROMOTE:  # ahead of the act: after a crash in between it is champion already, and the step can be taken again
            store.save(store.load(course.model))
        return course

    return engine.roll(step, who, why, to)


def history(engine: Engine) -> list[ActRecord]:
    """All steps of all rollouts, in order."""
    return [engine.line.records.read(entry) for entry in engine.ledger.scan(1, (ACT,)) if entry.key == ROLLOUT]


def describe(course: Course, stages: int) -> str:
    """One line for people."""
    if not course.number:
        return "no rollout"
    what = f"rollout {course.number}, challenger {course.model[:12]}: {course.state}"
    return f"{what}, stage {course.stage + 1} of {stages}, {course.share:.4g} of all not held out" if course.open else what


def _challenger(engine: Engine, store: ModelStore, beginning: str) -> str:
    name = store.find(beginning)
    if name == engine.line.chain.models[CHAMPION].digest:
        raise DataError("the champion cannot be its own challenger", found=name[:12],
                        next_step="train another model: flightworthy train --challenger")
    open_model(engine.pilot, engine.models_folder, name)
    return name

