"""A challenger beside the champion: who gets it, what is recorded, and that every step of a rollout is durable, exact and undone."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import pytest

from flightworthy.decision.course import ROLLOUT, STEPS, Course, target
from flightworthy.decision.engine import Engine
from flightworthy.decision.history import changes
from flightworthy.decision.reload import renew
from flightworthy.decision.replay import replay
from flightworthy.decision.rollout import acts, approve, describe, roll_all
from flightworthy.decision.route import CHALLENGED, HOLDOUT, TREATED, Router
from flightworthy.ground.errors import DataError, LedgerError, ModelError
from flightworthy.manifest.load import load
from flightworthy.model.artifact import Artifact, ModelStore
from tests.conftest import Trained
from tests.decision.test_reload import copy

Open = Callable[..., Engine]


def roll(engine: Engine, step: str, who: str, why: str, model: str = "") -> None:
    roll_all([engine], step, who, why, model)


def stored(engine: Engine, **changes: Any) -> str:
    """A stored model that is the champion but for something; its digest."""
    store = ModelStore(engine.models_folder)
    made = Artifact({**store.champion().content, "challenger": True, **changes})
    store.save(made, champion=False)
    return made.digest


def test_a_growing_share_lets_nobody_out_and_a_new_rollout_draws_anew() -> None:
    names = [f"card-{i}" for i in range(20_000)]
    router = Router("salt", 0.1)
    alone = router.arms(names)
    inside: list[set[str]] = []
    for share in (0.05, 0.2, 0.5):
        router.follow(Course(1, "m", 0, share, "running"))
        arms = router.arms(names)
        inside.append({name for name, arm in zip(names, arms, strict=True) if arm == CHALLENGED})
        assert len(inside[-1]) / len(names) == pytest.approx(0.9 * share, abs=0.01)
        assert router.propensity(CHALLENGED) + router.propensity(TREATED) + router.propensity(HOLDOUT) == pytest.approx(1)
        assert [a == HOLDOUT for a in arms] == [a == HOLDOUT for a in alone]
    assert inside[0] < inside[1] < inside[2]
    router.follow(Course(2, "m", 0, 0.5, "running"))
    both = {name for name, arm in zip(names, router.arms(names), strict=True) if arm == CHALLENGED} & inside[2]
    assert len(both) / len(inside[2]) == pytest.approx(0.5, abs=0.03)  # independent of the rollout before
    router.follow(Course(2, "m", 0, 0.0, "aborted"))
    assert router.arms(names) == alone


def test_a_whole_rollout_is_decided_recorded_and_replayed(open_engine: Open, starter_trained: Trained) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 700)
    name = stored(engine)
    before = engine.decide(lines[:100])
    roll(engine, "start", "alice", "new data", name[:10])
    first = engine.decide(lines[100:300])
    roll(engine, "advance", "alice", "calm")
    engine.ledger.close()
    engine = open_engine()  # a restart goes on where it was
    assert engine.line.router.course == Course(1, name, 1, 0.2, "running")
    roll(engine, "advance", "alice", "calm")
    most = engine.decide(lines[300:500])
    roll(engine, "abort", "bob", "enough")
    after = engine.decide(lines[500:])
    found = {r.arm: (r.path, r.by, r.model.hex() if r.model else None) for r in most}
    champion = engine.line.chain.models["champion"].digest
    assert found == {TREATED: (["champion"], "champion", champion), HOLDOUT: (["champion"], "baseline", champion),
                     CHALLENGED: (["challenger"], "challenger", name)}
    assert {r.propensity for r in most if r.arm == CHALLENGED} == {0.8 * 0.5}
    who = attrgetter(engine.pilot.assigned_by)
    entities = {who(r.event) for r in first if r.arm == CHALLENGED}
    assert entities and all(r.arm == CHALLENGED for r in most if who(r.event) in entities)
    assert {r.arm for r in before + after} == {TREATED, HOLDOUT}
    assert replay(engine.pilot, engine.ledger, engine.models_folder).mismatches == 0
    assert [(a.said["step"], a.said["share"], a.who) for a in acts(engine.line, engine.ledger)] == [
        ("start", "0.05", "alice"), ("advance", "0.2", "alice"), ("advance", "0.5", "alice"), ("abort", "0.0", "bob")]
    assert [c.name.split()[:2] for c in changes(engine.pilot, engine.ledger) if c.name.startswith(ROLLOUT)] == [
        [ROLLOUT, f"step={step}"] for step in ("start", "advance", "advance", "abort")]
    assert "aborted" in describe(engine.line.router.course, 3)


def test_the_bits_do_not_depend_on_how_events_are_batched(open_engine: Open, starter_trained: Trained) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 300)
    roll(engine, "start", "alice", "new data", stored(engine))
    roll(engine, "advance", "alice", "calm")
    for line in lines[:100]:
        engine.decide([line])
    engine.decide(lines[100:])
    report = replay(engine.pilot, engine.ledger, engine.models_folder)
    assert (report.decisions, report.mismatches) == (300, 0)


def test_promotion_makes_the_challenger_champion_and_the_champion_previous(open_engine: Open, starter_trained: Trained) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 300)
    old, name = engine.line.chain.models["champion"].digest, stored(engine)
    roll(engine, "start", "alice", "new data", name)
    for _ in range(2):
        roll(engine, "advance", "alice", "calm")
    engine.decide(lines[:150])
    roll(engine, "promote", "alice", "proven")
    later = engine.decide(lines[150:])
    assert {(r.arm, r.path[-1], r.model.hex()) for r in later if r.arm == TREATED} == {(TREATED, "champion", name)}
    assert engine.line.chain.models["previous"].digest == old and "challenger" not in engine.line.chain.models
    assert replay(engine.pilot, engine.ledger, engine.models_folder).mismatches == 0
    with pytest.raises(DataError, match="its own challenger"):
        roll(engine, "start", "alice", "again", name)
    roll(engine, "start", "alice", "back", old)
    assert engine.line.router.course.number == 2


def test_a_promotion_waits_for_others_to_approve_of_this_very_rollout(open_engine: Open, tmp_path: Any) -> None:
    engine = open_engine(pilot=load(copy(tmp_path, ("rollout: {", "rollout: {approvals: 2, stages: [50%], "))))
    name = stored(engine)
    roll(engine, "start", "alice", "new data", name)
    roll(engine, "abort", "alice", "again")
    for who in ("bob", "carol"):
        with pytest.raises(DataError, match="no such rollout"):
            approve(engine, 1, who, "late")
    roll(engine, "start", "alice", "new data", name)
    for who in ("alice", "bob", "bob"):  # one's own does not count, nor the same one twice
        approve(engine, 2, who, "looks right")
        with pytest.raises(DataError, match="needs approvals of others"):
            roll(engine, "promote", "alice", "proven")
    assert ModelStore(engine.models_folder).history()[-1] != name
    approve(engine, 2, "carol", "looks right")
    roll(engine, "promote", "alice", "proven")
    assert engine.line.chain.models["champion"].digest == name


@pytest.mark.parametrize("state", ["none", "running", "held", "last", "aborted"])
def test_steps_are_taken_from_where_they_can_be(state: str) -> None:
    stages = [0.1, 0.2]
    course = {"none": Course(), "running": Course(1, "m", 0, 0.1, "running"), "held": Course(1, "m", 0, 0.1, "held"),
              "last": Course(1, "m", 1, 0.2, "running"), "aborted": Course(1, "m", 0, 0.0, "aborted")}[state]
    allowed = {"none": {"start"}, "running": {"advance", "hold", "abort"}, "held": {"resume", "abort"},
               "last": {"hold", "abort", "promote"}, "aborted": {"start"}}[state]
    for step in STEPS:
        if step in allowed:
            made = course.after(step, stages, "n")
            assert Course.of(made.said(step, "why")) == made != course
        else:
            with pytest.raises(DataError, match=f"cannot {step} now"):
                course.after(step, stages, "n")


def test_wrong_steps_say_what_is_wrong(open_engine: Open) -> None:
    engine = open_engine()
    for step, why, model, words in (("leap", "x", "", "no such step"), ("start", "", "", "needs a reason")):
        with pytest.raises(DataError, match=words):
            roll(engine, step, "alice", why, model)
    with pytest.raises(ModelError, match="no such model"):
        roll(engine, "start", "alice", "x", "feed")
    with pytest.raises(ModelError, match="another contract"):
        roll(engine, "start", "alice", "x", stored(engine, recipe_digest="00" * 32))
    assert engine.ledger.last() == 0


def test_a_step_that_reached_some_shards_only_is_completed_and_nobody_takes_it_twice() -> None:
    stages, first, second = [0.1, 0.2, 0.5], Course(1, "m", 0, 0.1, "running"), Course(1, "m", 1, 0.2, "running")
    held = first._replace(state="held")
    assert target([second, first, second], "advance", stages) == second
    assert target([second, second], "advance", stages) == Course(1, "m", 2, 0.5, "running")
    assert target([held, first], "hold", stages) == held
    assert target([Course(), first], "start", stages, "m") == first
    with pytest.raises(DataError, match="abort it first"):
        target([first, first], "start", stages, "m")


def test_a_stage_that_would_let_somebody_out_is_refused() -> None:
    with pytest.raises(DataError, match="nobody who is in may fall out"):
        Course(1, "m", 0, 0.3, "running").after("advance", [0.05, 0.2, 0.5])


def test_an_arm_nobody_is_in_asks_no_model(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    roll(engine, "start", "alice", "new data", stored(engine))
    models = engine.line.chain.models
    models["challenger"] = Broken(models["challenger"], raises=True)  # type: ignore[assignment]
    records = [engine.decide([line])[0] for line in starter_trained.lines("live", 30)]
    assert {r.arm for r in records} >= {TREATED}
    assert {tuple(r.path) for r in records if r.arm != CHALLENGED} == {("champion",)}
    assert engine.line.chain.score(np.zeros((0, len(engine.pilot.inputs))), challenger=True).failures == {}


class Broken:
    """A model that answers nothing usable for some rows, or raises."""

    def __init__(self, model: Any, raises: bool) -> None:
        self._model, self._raises = model, raises
        self.digest, self.references = model.digest, model.references

    def predict(self, x: Any) -> Any:
        if self._raises:
            raise RuntimeError("out of memory")
        answer = self._model.predict(x)
        answer[::2] = np.nan
        return answer


@pytest.mark.parametrize("raises", [False, True])
def test_a_broken_challenger_breaks_no_decision(open_engine: Open, starter_trained: Trained, raises: bool) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 200)
    roll(engine, "start", "alice", "new data", stored(engine))
    for _ in range(2):
        roll(engine, "advance", "alice", "calm")
    models = engine.line.chain.models
    models["challenger"] = Broken(models["challenger"], raises)  # type: ignore[assignment]
    records = engine.decide(lines)
    challenged = [r for r in records if r.arm == CHALLENGED]
    fallen = [r for r in challenged if r.path[-1] == "champion"]
    assert all(r.path[0].startswith("challenger: ") and r.by == "champion" for r in fallen)
    assert len(fallen) == (len(challenged) if raises else (len(challenged) + 1) // 2)
    assert {tuple(r.path) for r in records if r.arm != CHALLENGED} == {("champion",)}


def test_a_challenger_that_is_gone_leaves_its_arm_to_the_champion(open_engine: Open, starter_trained: Trained) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 200)
    name = stored(engine)
    roll(engine, "start", "alice", "new data", name)
    for _ in range(2):
        roll(engine, "advance", "alice", "calm")
    engine.close()
    (engine.models_folder / f"{name}.json").unlink()
    engine = open_engine()
    records = engine.decide(lines)
    assert {tuple(r.path) for r in records if r.arm == CHALLENGED} == {("challenger: not loaded", "champion")}


def test_a_step_that_cannot_be_written_changes_nothing(open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    name = stored(engine)
    course = engine.line.router.course

    def fail(*_: Any) -> None:
        raise LedgerError("disk full")

    monkeypatch.setattr(engine.ledger, "commit", fail)
    with pytest.raises(LedgerError, match="disk full"):
        roll(engine, "start", "alice", "new data", name)
    assert engine.line.router.course == course and "challenger" not in engine.line.chain.models


def test_kill_switch_and_reload_beside_a_rollout(open_engine: Open, starter_trained: Trained, tmp_path: Any) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 300)
    roll(engine, "start", "alice", "new data", stored(engine))
    for _ in range(2):
        roll(engine, "advance", "alice", "calm")
    engine.kill(True, "alice", "stop")
    killed = engine.decide(lines[:100])
    assert {r.by for r in killed} == {"baseline"} and CHALLENGED in {r.arm for r in killed}
    engine.kill(False, "alice", "go on")
    made = renew(engine, copy(tmp_path, ("score * 0.02 * amount > 1.5", "score > 2")))
    made.swap(engine)
    after = engine.decide(lines[100:])
    assert {r.path[-1] for r in after if r.arm == CHALLENGED} == {"challenger"}
    report = replay(made.line.pilot, engine.ledger, engine.models_folder)
    assert (report.mismatches, report.other_manifest) == (0, 100)
    with pytest.raises(ModelError, match="another contract"):
        renew(engine, copy(tmp_path, ("windows: [90d, 365d]", "windows: [90d, 365d, 30d]")))
