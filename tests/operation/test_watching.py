"""The watch over a rollout: it rolls back what is worse, and never acts on silence, on a broken ledger, or twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flightworthy.cli.run import decide
from flightworthy.cli.simulate import simulate
from flightworthy.decision.admission import Admission
from flightworthy.decision.course import Course
from flightworthy.decision.engine import Engine
from flightworthy.decision.line import Line
from flightworthy.decision.rollout import acts, roll_all
from flightworthy.decision.tally import Tally
from flightworthy.decision.verdicts import FAILURES
from flightworthy.governance.ledger import ACT, Ledger
from flightworthy.ground.errors import AdapterError, DataError, LedgerError
from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import Least
from flightworthy.objective.gates import HOLD, ROLL_BACK
from flightworthy.operation.watching import Take, Watch, describe
from tests.conftest import Trained
from tests.decision.test_rollout import stored

Open = Callable[..., Engine]


class Flaky:
    """A model that has no answer for some rows."""

    def __init__(self, model: Any, share: float, seed: int) -> None:
        self._model, self._share, self._rng = model, share, np.random.default_rng(seed)
        self.digest, self.references = model.digest, model.references
        self.recipe_digest, self.inputs = model.recipe_digest, model.inputs

    def predict(self, x: Any) -> Any:
        answer = self._model.predict(x)
        answer[self._rng.random(len(answer)) < self._share] = np.nan
        return answer


def rolling(open_engine: Open, champion: float, challenger: float) -> Engine:
    """An engine whose models fail so often, half of its entities challenged."""
    engine = open_engine()
    roll_all([engine], "start", "alice", "new data", stored(engine))
    for _ in range(2):
        roll_all([engine], "advance", "alice", "calm")
    models = engine.line.chain.models
    for name, share in (("champion", champion), ("challenger", challenger)):
        models[name] = Flaky(models[name], share, 1)  # type: ignore[assignment]
    return engine


def taking(engine: Engine) -> tuple[list[str], Take]:
    said: list[str] = []

    def take(step: str, at: Course, why: str) -> None:
        said.append(why)
        roll_all([engine], step, "watch", why)

    return said, take


def watching(engine: Engine, take: Take) -> Watch:
    return Watch(engine.pilot, [(engine.ledger, engine.vault)], engine.models_folder, take)


def tally(engine: Engine, limit: int = 0, ledger: Any = None) -> Tally:
    return Tally(engine.pilot, ledger or engine.ledger, engine.models_folder, engine.vault, limit)


def test_a_challenger_that_fails_more_often_is_rolled_back_once(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.01, 0.3)
    said, take = taking(engine)
    watch, looks = watching(engine, take), []
    lines = starter_trained.lines("live", 1500)
    for i in range(0, len(lines), 50):
        engine.decide(lines[i : i + 50])
        looks.append(watch.look())
    back = [look for look in looks if look.rolled_back]
    assert len(back) == len(said) == 1 and back[0].gates[FAILURES].state == ROLL_BACK
    assert back[0].gates[FAILURES].interval.low > 1
    assert said[0].startswith("failures: roll back") and "of the evidence needed" in said[0]
    assert [act.said["step"] for act in acts(engine.line, engine.ledger)][-1] == "abort"
    assert not looks[-1].open
    again = watching(engine, take)  # one that starts afterwards reads the same and has nothing to do
    assert again.look().gates[FAILURES].state == ROLL_BACK and len(said) == 1


def test_models_that_fail_alike_are_left_alone_and_a_restarted_watch_sees_the_same(open_engine: Open,
                                                                                  starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.1, 0.1)
    said, take = taking(engine)
    watch, lines = watching(engine, take), starter_trained.lines("live", 1000)
    for i in range(0, len(lines), 100):
        engine.decide(lines[i : i + 100])
        look = watch.look()
        fresh = watching(engine, take).look()
        assert fresh.gates == look.gates and fresh.fresh >= look.fresh
    assert said == [] and look.open and watch.look().fresh == 0


def test_silence_and_no_failure_at_all_hold(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    said, take = taking(engine)
    watch = watching(engine, take)
    assert watch.look().gates[FAILURES].state == HOLD
    engine.decide(starter_trained.lines("live", 300))
    for _ in range(3):
        look = watch.look()
        assert look.gates[FAILURES].state == HOLD and look.open
    assert said == [] and "hold" in describe(FAILURES, look.gates[FAILURES])


class Unreadable:
    """A ledger that breaks in the midst of being read, once."""

    def __init__(self, ledger: Ledger, after: int) -> None:
        self._ledger, self._after = ledger, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def scan(self, first: int, kinds: Any) -> Any:
        if kinds == (ACT,):
            yield from self._ledger.scan(first, kinds)
            return
        for i, entry in enumerate(self._ledger.scan(first, kinds)):
            if i == self._after:
                self._after = 10**9
                raise LedgerError("gone", retryable=True)
            yield entry


def test_a_ledger_that_breaks_while_it_is_read_is_read_on_later(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.05, 0.05)
    engine.decide(starter_trained.lines("live", 300))
    broken, whole = tally(engine, ledger=Unreadable(engine.ledger, 100)), tally(engine)
    with pytest.raises(LedgerError, match="gone"):
        broken.read()
    assert broken.read() == 300 - 97 and whole.read() == 300  # three of the hundred were acts
    assert broken.stages == whole.stages and sum(s.challenger.decisions for s in whole.stages) > 50


def test_a_service_that_is_not_there_is_asked_again(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.5)
    engine.decide(starter_trained.lines("live", 500))
    _, take = taking(engine)
    refusals = [True]

    def first_gone(step: str, at: Course, why: str) -> None:
        if refusals:
            refusals.pop()
            raise AdapterError("the service cannot be reached", retryable=True)
        take(step, at, why)

    watch = watching(engine, first_gone)
    assert [watch.look().rolled_back for _ in range(3)] == [False, True, False]


def test_the_holdout_and_the_kill_switch_say_nothing_of_the_models(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    counted = tally(engine)
    engine.kill(True, "alice", "drill")
    engine.decide(starter_trained.lines("live", 200))
    assert counted.read() == 200 and sum(s.challenger.decisions + s.champion.decisions for s in counted.stages) == 0


def test_slow_answers_are_counted_by_the_time_of_each_arm(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    engine.decide(starter_trained.lines("live", 200))
    all_slow, none_slow = tally(engine, 1), tally(engine, 10**12)
    all_slow.read(), none_slow.read()
    stage = all_slow.stages[-1]
    assert (stage.challenger.slow, stage.champion.slow) == (stage.challenger.decisions, stage.champion.decisions)
    assert none_slow.stages[-1].challenger.slow == 0


def cautious(engine: Engine, **changes: Any) -> Pilot:
    """The pilot of an engine with other rules for its rollouts."""
    manifest = engine.pilot.manifest
    rollout = manifest.rollout.model_copy(update={"least": Least(decisions=20, time="20d"), **changes})
    return replace(engine.pilot, manifest=manifest.model_copy(update={"rollout": rollout}))


def test_a_calm_challenger_advances_by_itself_and_is_not_promoted_unproven(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    pilot = cautious(engine, stages=[0.0, 0.2, 0.5], automatic=True, tolerance=0.2, value="counterfactual", approvals=1)
    engine.pilot = pilot
    engine.line = Line(pilot, engine.line.chain.models)
    engine.admission = Admission(engine.line, engine.ledger)
    engine.recover()
    roll_all([engine], "start", "alice", "new", stored(engine))
    said, take = taking(engine)
    watch, steps, waits = Watch(pilot, [(engine.ledger, None)], engine.models_folder, take), [], list[str]()
    lines = starter_trained.lines("live")
    for i in range(0, len(lines), 40):
        engine.decide(lines[i : i + 40])
        look = watch.look()
        waits += look.waits
        steps += [look.step] if look.step else []
    assert steps == ["advance", "advance"] and engine.course().stage == 2 and look.open
    assert any("of at least 20 decisions" in why for why in waits) and any("h of at least 20d" in why for why in waits)
    assert any("value: 0.00 of the evidence" in why for why in look.waits)  # it is the champion itself: worth no more
    assert "would be others" in said[0] and "failures: advance" in said[0] and "slow" not in said[0]


def test_a_promotion_that_is_refused_is_told_once_and_asked_for_again(open_engine: Open, starter_trained: Trained,
                                                                      monkeypatch: pytest.MonkeyPatch,
                                                                      caplog: pytest.LogCaptureFixture) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    engine.decide(starter_trained.lines("live", 400))
    monkeypatch.setattr("flightworthy.operation.watching.missing", lambda *_: [])
    refused: list[str] = []

    def take(step: str, at: Course, why: str) -> None:
        refused.append(step)
        raise AdapterError("a promotion needs approvals of others")

    watch = Watch(cautious(engine, automatic=True), [(engine.ledger, None)], engine.models_folder, take)
    looks = [watch.look() for _ in range(3)]
    assert refused == ["promote"] * 3 and all("could not promote" in look.waits[-1] and not look.step for look in looks)
    assert len([r for r in caplog.records if "promote" in r.message]) == 1


def test_a_step_that_reached_some_shards_only_is_completed(open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    taken: list[tuple[str, int]] = []
    watch = Watch(cautious(engine, automatic=True), [(engine.ledger, None)] * 2, engine.models_folder,
                  lambda step, at, why: taken.append((step, at.stage)))
    watch.look()
    assert taken == []
    watch._tallies[0].course = watch._tallies[0].course._replace(stage=1)
    assert watch.look().step == "advance" and taken == [("advance", 1)]


def test_a_watch_without_the_challengers_model_still_counts_and_never_advances(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.5)
    engine.decide(starter_trained.lines("live", 500))
    (engine.models_folder / f"{engine.course().model}.json").unlink()
    _, take = taking(engine)
    watch = Watch(cautious(engine, automatic=True), [(engine.ledger, None)], engine.models_folder, take)
    look = watch.look()
    assert look.rolled_back and look.gates[FAILURES].state == ROLL_BACK and any("no such model" in why for why in look.waits)


def test_a_stream_looks_between_its_batches(open_engine: Open, starter_trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    engine = open_engine()
    name = stored(engine)
    roll_all([engine], "start", "alice", "new", name)
    for _ in range(2):
        roll_all([engine], "advance", "alice", "calm")
    engine.close()
    (engine.models_folder / f"{name}.json").unlink()  # from here on it has no answers
    var, data = engine.models_folder.parent, str(starter_trained.data / starter_trained.made["live"])
    decide(starter_trained.pilot.folder, data, None, None, var, resume=True, follow=True)
    told = capsys.readouterr().out
    assert "rolled back; failures: roll back" in told and "decisions" in told
    again = open_engine()
    assert again.course().state == "aborted" and acts(again.line, again.ledger)[-1].who == "watch"


def test_a_rollout_is_tried_on_the_pilots_own_traffic(open_engine: Open, starter_trained: Trained, capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live"))
    engine.observe(starter_trained.lines("live_outcomes"))
    engine.ledger.close()
    var = engine.models_folder.parent
    with pytest.raises(DataError, match="too few decisions with a final outcome"):
        simulate(starter_trained.pilot.folder, 10, 30, 1, var, as_json=False)
    monkeypatch.setattr("flightworthy.operation.simulating.FEWEST", 100)
    simulate(starter_trained.pilot.folder, 10, 30, 1, var, as_json=False)
    told = capsys.readouterr().out
    assert "the challenger earns" in told and "0.1 points" in told and told.count("of that") >= 5
    simulate(starter_trained.pilot.folder, 10, 30, 1, var, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [each["change"] for each in found["outcomes"]] == [0.25, 0.1, 0.0, -0.1, -0.25, -0.5] and found["rate"] > 1
    assert all(sum(each["ends"].values()) == pytest.approx(1) for each in found["outcomes"])
