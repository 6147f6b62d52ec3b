"""Steps of a rollout, each an act in the ledger and one atomic change of who is decided by what."""

from __future__ import annotations

from collections.abc import Sequence

from flightworthy.decision.course import APPROVAL, HOLD, PROMOTE, ROLLOUT, START, STEPS, Course, target
from flightworthy.decision.engine import Engine
from flightworthy.decision.fallback import CHAMPION
from flightworthy.decision.line import Line
from flightworthy.decision.record import ActRecord
from flightworthy.decision.rooms import open_model
from flightworthy.governance.ledger import ACT, Ledger
from flightworthy.ground.errors import DataError
from flightworthy.model.artifact import ModelStore


def challenger(engine: Engine, beginning: str) -> str:
    """The digest of a stored model that can challenge. Raises `ModelError` when there is none, or it does not fit."""
    name = ModelStore(engine.models_folder).find(beginning)
    if name == engine.line.chain.models[CHAMPION].digest:
        raise DataError("the champion cannot be its own challenger", found=name[:12],
                        next_step="train another model: flightworthy train --challenger")
    open_model(engine.pilot, engine.models_folder, name)
    return name


def roll(engine: Engine, step: str, who: str, why: str, there: Course) -> ActRecord:
    """Take the step that leads ``there``; returns when it is durable and in force. Where the engine is there already, its act
    is the answer. No batch may be under way. Raises `DataError` when the step leads elsewhere from here, `LedgerError` when it
    could not be written: then nothing has changed."""
    store, stages = ModelStore(engine.models_folder), engine.pilot.manifest.rollout.stages
    needed = engine.pilot.manifest.rollout.approvals
    if engine.course() == there:
        return acts(engine.line, engine.ledger)[-1]

    def to(now: Course) -> Course:
        if now.after(step, stages, there.model) != there:
            raise DataError(f"a rollout cannot {step} from here to there", found=str(now), expected=str(there),
                            next_step="look where each shard stands: flightworthy rollout status")
        others = approvers(engine, now.number) - {who} if step == PROMOTE and needed else set()
        if step == PROMOTE and len(others) < needed:
            raise DataError("a promotion needs approvals of others", found=f"{len(others)}: {', '.join(sorted(others))}",
                            expected=f"{needed}", next_step="somebody else: flightworthy rollout approve")
        if step == PROMOTE:  # ahead of the act: after a crash in between it is champion already, and the step can be taken again
            store.save(store.load(there.model))
        return there

    return engine.roll(step, who, why, to)


def roll_all(engines: Sequence[Engine], step: str, who: str, why: str, model: str = "") -> list[ActRecord]:
    """Take a step on all shards of a pilot. ``model``: of a start, the beginning of the challenger's digest. Raises what `roll`,
    `challenger` and `target` do."""
    check(step, why)
    name = challenger(engines[0], model) if step == START else ""
    stages = engines[0].pilot.manifest.rollout.stages
    there = target([engine.course() for engine in engines], step, stages, name)
    return [roll(engine, step, who, why, there) for engine in engines]


def check(step: str, why: str) -> None:
    """Raises `DataError` when this is no step, or has no reason."""
    if step not in STEPS:
        raise DataError("a rollout knows no such step", found=step, expected=", ".join(STEPS))
    if not why:
        raise DataError("an act needs a reason", next_step="give --why")


def approve(engine: Engine, number: int, who: str, why: str) -> ActRecord:
    """Write down that somebody approves of the rollout of that number being promoted. Raises `DataError` when it is not under
    way."""
    check(HOLD, why)
    course = engine.course()
    if not course.open or course.number != number:
        raise DataError("no such rollout is under way", found=number, expected=describe(course, 0))
    return engine.act(f"{APPROVAL}:{number}", who, {"why": why, "rollout": str(number), "model": course.model})


def approvers(engine: Engine, number: int) -> set[str]:
    """Who approved of a rollout."""
    return {engine.line.records.read(entry).who for entry in engine.ledger.scan(1, (ACT,)) if entry.key == f"{APPROVAL}:{number}"}


def acts(line: Line, ledger: Ledger) -> list[ActRecord]:
    """All steps of all rollouts, in order."""
    return [line.records.read(entry) for entry in ledger.scan(1, (ACT,)) if entry.key == ROLLOUT]


def describe(course: Course, stages: int) -> str:
    """One line for people."""
    if not course.number:
        return "no rollout"
    what = f"rollout {course.number}, challenger {course.model[:12]}: {course.state}"
    share = f"{course.share:.4g} of all not held out" if course.share else "a shadow"
    return f"{what}, stage {course.stage + 1} of {stages}, {share}" if course.open else what
