"""The other model's side of a decision: the same bits as when it decides, money by the formula, and nothing before its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flightworthy.decision.course import Course
from flightworthy.decision.engine import Engine
from flightworthy.decision.fallback import CHALLENGER, CHAMPION
from flightworthy.decision.rollout import roll_all
from flightworthy.decision.route import CHALLENGED, HOLDOUT, TREATED, rollout_salt
from flightworthy.decision.shadow import Shadow, agreement, eligible
from flightworthy.decision.tally import Tally
from flightworthy.decision.valuation import exact_fields, judge
from flightworthy.decision.worth import Worth, pairs
from flightworthy.governance.ledger import DECISION, OUTCOME
from flightworthy.model.artifact import Artifact, ModelStore
from flightworthy.objective.value import Pricer
from tests.conftest import Trained

Open = Callable[..., Engine]
DAY = 86_400_000_000


def louder(engine: Engine, **changes: Any) -> str:
    """A stored challenger that answers as the champion does, and twice over; its digest."""
    store = ModelStore(engine.models_folder)
    champion = store.champion().content
    booster = champion["parts"]["booster"]
    trees = [f"leaf_value={' '.join(repr(float(v) + 0.02) for v in line[11:].split())}" if line.startswith("leaf_value=") else line
             for line in booster.splitlines() if not line.startswith("tree_sizes=")]
    made = Artifact({**champion, "parts": {**champion["parts"], "booster": "\n".join(trees) + "\n"}, **changes})
    store.save(made, champion=False)
    return made.digest


def rolled(open_engine: Open, trained: Trained, stages: int, count: int = 600, outcomes: bool = True) -> Engine:
    """An engine in a rollout, with decisions and, after them, their outcomes."""
    engine = open_engine()
    roll_all([engine], "start", "alice", "new", louder(engine))
    for _ in range(stages):
        roll_all([engine], "advance", "alice", "calm")
    engine.decide(trained.lines("live", count))
    if outcomes:
        engine.observe(trained.lines("live_outcomes"))
    return engine


def records(engine: Engine) -> list[Any]:
    return [engine.line.records.read(entry) for entry in engine.ledger.scan(1, (DECISION,))]


def shadow_of(engine: Engine) -> Shadow:
    return Shadow(engine.pilot, engine.models_folder, engine.course(), engine.vault)


def test_the_shadow_has_the_bits_the_model_has_when_it_decides(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolled(open_engine, starter_trained, 2, outcomes=False)
    shadow, line = shadow_of(engine), engine.line
    for arm, step in ((CHALLENGED, CHALLENGER), (TREATED, CHAMPION)):
        mine = [record for record in records(engine) if record.arm == arm]
        numbers = line.columns.numbers([r.event for r in mine], line.columns.times([r.event for r in mine]))
        frame = line.frames.rebuild(numbers, np.array([r.features for r in mine]))
        again = shadow.line.chain.ask(step, line.inputs(frame))[0]
        assert len(mine) > 100 and again.tolist() == [record.outputs for record in mine]
        assert shadow.line.would(frame, again) == [(record.action, record.quantity) for record in mine]


def test_both_sides_are_told_apart_by_who_decided(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolled(open_engine, starter_trained, 2, outcomes=False)
    asked = [record for record in records(engine) if eligible(record)]
    twins = shadow_of(engine).ask(asked)
    assert {record.arm for record in asked} == {CHALLENGED, TREATED} and any(twin.moved for twin in twins)
    for twin in twins:
        was = twin.record.action, twin.record.quantity
        assert (twin.challenger if twin.record.arm == CHALLENGED else twin.champion) == was
        assert twin.scores[twin.record.arm == TREATED] == twin.record.outputs[0] and not twin.failed
        assert twin.scores[0] > twin.scores[1]  # it is the louder one
    assert agreement(np.array([twin.scores for twin in twins])) > 0.25
    assert shadow_of(engine).ask([]) == []
    assert not eligible(next(record for record in records(engine) if record.arm == HOLDOUT))


def test_a_model_without_an_answer_does_as_the_other(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolled(open_engine, starter_trained, 0, count=100, outcomes=False)
    shadow = shadow_of(engine)
    shadow.line.chain.models.pop(CHALLENGER)
    twins = shadow.ask([record for record in records(engine) if record.arm == TREATED])
    assert all(twin.failed and not twin.moved for twin in twins)


def test_worth_waits_for_the_horizon_and_prices_both_sides(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolled(open_engine, starter_trained, 2)
    pilot, shadow = engine.pilot, shadow_of(engine)
    asked = [record for record in records(engine) if eligible(record)]
    times = {r.seq: int(engine.line.columns.times([r.event])[0]) for r in asked}
    worth = Worth(shadow, engine.ledger, rollout_salt(engine.line.router.salt, 1), 1)
    for entry in engine.ledger.scan(1, (OUTCOME,)):
        told = engine.line.records.read(entry)
        worth.learn(told.decision, told.label)
    worth.read(min(times.values()) + 30 * DAY - 1)
    assert not worth.apart and not worth.entities
    half = sorted(times.values())[len(times) // 2]
    worth.read(half + 30 * DAY)
    counted = [record for record in asked if times[record.seq] <= half]
    assert sum(count for count, _ in worth.apart.values()) == len(counted)
    worth.read(2**62)
    labels = {j.record.seq: j.label for j in judge(pilot, engine.ledger, 2**62)}
    price = Pricer(pilot).price
    expected = {True: 0.0, False: 0.0}
    for twin in shadow.ask(asked):
        fields = exact_fields(pilot)(twin.record.event)
        label = labels[twin.record.seq]
        assert label is not None
        expected[twin.record.arm == CHALLENGED] += float(price(fields, label, *twin.challenger) - price(fields, label, *twin.champion))
    for challenged, total in expected.items():
        assert worth.arms[challenged][1] == pytest.approx(total) and worth.arms[challenged][0] > 100
    assert 0 < len(worth.entities) < len(worth.apart) and min(worth.moved.cases[label] for label in (False, True)) > 0
    assert sum(worth.moved.cases.values()) <= sum(twin.moved for twin in shadow.ask(asked))
    assert worth.moved.least_variance > 0


def test_the_champions_slice_is_as_large_as_the_challengers(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolled(open_engine, starter_trained, 1, count=1000)
    worth = Worth(shadow_of(engine), engine.ledger, rollout_salt(engine.line.router.salt, 1), 1)
    worth.read(2**62)
    mine, theirs = set(worth.slices.challenger), set(worth.slices.champion)
    arms = {str(r.event.customer_id): r.arm for r in records(engine)}
    assert mine == {name for name, arm in arms.items() if arm == CHALLENGED}
    assert all(arms[name] == TREATED for name in theirs) and 0.5 < len(theirs) / len(mine) < 2
    together = list(pairs([worth.slices]))
    assert len(together) == min(len(mine), len(theirs)) and all(pair[0][0] >= 1 for pair in together)


def test_decisions_after_the_end_and_late_outcomes_do_not_count(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolled(open_engine, starter_trained, 1, count=300)
    roll_all([engine], "abort", "alice", "enough")
    ended = engine.ledger.last()
    engine.decide(starter_trained.lines("live", 600)[300:])
    worth = Worth(shadow_of(engine), engine.ledger, "x", 1)
    worth.end(ended)
    worth.read(2**62)
    assert sum(count for count, _ in worth.apart.values()) == sum(eligible(r) for r in records(engine) if r.seq < ended)
    before = dict(worth.apart)
    worth.learn(1, 1.0)
    worth.read(2**62)
    assert worth.apart == before


def test_a_tally_counts_a_shadow_stage_by_what_it_would_have_done(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.roll("start", "alice", "new", lambda now: Course(1, louder(engine), 0, 0.0, "running"))
    engine.decide(starter_trained.lines("live", 300))
    seen = Tally(engine.pilot, engine.ledger, engine.models_folder)
    assert seen.read() == 300
    stage = seen.stages[-1]
    assert stage.share == 0 and stage.challenger.decisions == 0
    assert stage.asked.decisions == stage.champion.decisions == sum(r.arm == TREATED for r in records(engine)) == seen.changed.all
    assert (stage.failures().share, stage.failures().both) == (0.5, 0) and seen.changed.bad > 0
    assert f"{seen.changed.bad} of {seen.changed.all} decisions would be others" in seen.said()
    again = Tally(engine.pilot, engine.ledger, engine.models_folder)
    again.read()
    assert again.said() == seen.said()  # whoever asks has the same numbers
    assert {record.arm for record in records(engine)} == {TREATED, HOLDOUT}
