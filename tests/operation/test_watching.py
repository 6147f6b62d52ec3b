"""The watch over a rollout: it rolls back what is worse, and never acts on silence, on a broken ledger, or twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.rollout import acts, roll_all
from flightworthy.decision.tally import FAILURES, Tally
from flightworthy.governance.ledger import Ledger
from flightworthy.ground.errors import AdapterError, LedgerError
from flightworthy.objective.gates import HOLD, ROLL_BACK
from flightworthy.operation.watching import Watch, describe
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


def aborting(engine: Engine) -> tuple[list[str], Callable[[int, str], None]]:
    said: list[str] = []

    def abort(number: int, why: str) -> None:
        said.append(why)
        roll_all([engine], "abort", "watch", why)

    return said, abort


def test_a_challenger_that_fails_more_often_is_rolled_back_once(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.01, 0.3)
    said, abort = aborting(engine)
    watch, looks = Watch(engine.pilot, [engine.ledger], abort), []
    lines = starter_trained.lines("live", 1500)
    for i in range(0, len(lines), 50):
        engine.decide(lines[i : i + 50])
        looks.append(watch.look())
    back = [look for look in looks if look.rolled_back]
    assert len(back) == len(said) == 1 and back[0].gates[FAILURES].state == ROLL_BACK
    assert back[0].gates[FAILURES].interval.low > 1
    assert said[0].startswith("failures: roll back") and "of what is asked" in said[0]
    assert [act.said["step"] for act in acts(engine.line, engine.ledger)][-1] == "abort"
    assert not looks[-1].open
    again = Watch(engine.pilot, [engine.ledger], abort)  # one that starts afterwards reads the same and has nothing to do
    assert again.look().gates[FAILURES].state == ROLL_BACK and len(said) == 1


def test_models_that_fail_alike_are_left_alone_and_a_restarted_watch_sees_the_same(open_engine: Open,
                                                                                  starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.1, 0.1)
    said, abort = aborting(engine)
    watch, lines = Watch(engine.pilot, [engine.ledger], abort), starter_trained.lines("live", 1000)
    for i in range(0, len(lines), 100):
        engine.decide(lines[i : i + 100])
        look = watch.look()
        fresh = Watch(engine.pilot, [engine.ledger], abort).look()
        assert fresh.gates == look.gates and fresh.fresh >= look.fresh
    assert said == [] and look.open and watch.look().fresh == 0


def test_silence_and_no_failure_at_all_hold(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    said, abort = aborting(engine)
    watch = Watch(engine.pilot, [engine.ledger], abort)
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

    def scan(self, first: int, kinds: Any) -> Any:
        for i, entry in enumerate(self._ledger.scan(first, kinds)):
            if i == self._after:
                self._after = 10**9
                raise LedgerError("gone", retryable=True)
            yield entry


def test_a_ledger_that_breaks_while_it_is_read_is_read_on_later(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.05, 0.05)
    engine.decide(starter_trained.lines("live", 300))
    broken, whole = Tally(Unreadable(engine.ledger, 100)), Tally(engine.ledger)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="gone"):
        broken.read()
    assert broken.read() == 300 - 97 and whole.read() == 300  # three of the hundred were acts
    assert broken.stages == whole.stages and sum(s.challenger.decisions for s in whole.stages) > 50


def test_a_service_that_is_not_there_is_asked_again(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.5)
    engine.decide(starter_trained.lines("live", 500))
    _, abort = aborting(engine)
    refusals = [True]

    def first_gone(number: int, why: str) -> None:
        if refusals:
            refusals.pop()
            raise AdapterError("the service cannot be reached", retryable=True)
        abort(number, why)

    watch = Watch(engine.pilot, [engine.ledger], first_gone)
    assert [watch.look().rolled_back for _ in range(3)] == [False, True, False]


def test_the_holdout_and_the_kill_switch_say_nothing_of_the_models(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    tally = Tally(engine.ledger)
    engine.kill(True, "alice", "drill")
    engine.decide(starter_trained.lines("live", 200))
    assert tally.read() == 200 and sum(s.challenger.decisions + s.champion.decisions for s in tally.stages) == 0


def test_slow_answers_are_counted_by_the_time_of_each_arm(open_engine: Open, starter_trained: Trained) -> None:
    engine = rolling(open_engine, 0.0, 0.0)
    engine.decide(starter_trained.lines("live", 200))
    all_slow, none_slow = Tally(engine.ledger, 1), Tally(engine.ledger, 10**12)
    all_slow.read(), none_slow.read()
    stage = all_slow.stages[-1]
    assert (stage.challenger.slow, stage.champion.slow) == (stage.challenger.decisions, stage.champion.decisions)
    assert none_slow.stages[-1].challenger.slow == 0
