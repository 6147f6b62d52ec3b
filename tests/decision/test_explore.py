"""Cases that are let through: by a draw, within a budget that outlives restarts, replayed bit for bit, and speaking for the others."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from flightworthy.cli.value import profit_and_loss
from flightworthy.decision.engine import Engine
from flightworthy.decision.explore import DAY, MILLION, Budget, Recorded
from flightworthy.decision.line import Line
from flightworthy.decision.replay import replay
from flightworthy.decision.statement import monthly, value
from flightworthy.decision.valuation import HIDDEN, PENDING, judge
from flightworthy.governance.ledger import DECISION
from flightworthy.ground.clock import ManualClock
from flightworthy.ground.errors import ManifestError
from flightworthy.manifest.load import parse
from flightworthy.manifest.pilot import Pilot
from tests.conftest import Trained

Open = Callable[..., Engine]
EXPLORE = "explore: {share: 20%, then: wait, if: amount < 100000, cost: 0.02 * amount, budget: BUDGET}"


def exploring(trained: Trained, budget: str = "1000000", hidden: str = "[remind]", explore: str = EXPLORE) -> Pilot:
    """The starter pilot, with reminders that hide the truth and some that are not sent."""
    text = (trained.pilot.folder / "pilot.yaml").read_text()
    text = text.replace("delay: 30d, absent: false}", f"delay: 30d, absent: false, hidden_by: {hidden}}}")
    text = text.replace("rollout: {by: customer, holdout: 20%}",
                        "rollout: {by: customer, holdout: 20%, " + explore.replace("BUDGET", budget) + "}")
    return parse(text, folder=trained.pilot.folder)


def records(engine: Engine) -> list[Any]:
    return [engine.line.records.read(entry) for entry in engine.ledger.scan(1, (DECISION,))]


def test_some_are_let_through_and_every_bit_is_replayed(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine(pilot=exploring(starter_trained))
    engine.decide(starter_trained.lines("live"))
    told = records(engine)
    meant = {record.seq: engine.line.meant(record)[0] for record in told}
    might = [record for record in told if record.explore]
    through = [record for record in might if record.action != meant[record.seq]]
    assert len(might) > 100 and {record.explore for record in might} == {0.2}
    assert len(through) / len(might) == pytest.approx(0.2, abs=0.1)
    assert {record.action for record in through} == {"wait"} and {meant[record.seq] for record in might} == {"remind"}
    assert all(record.action == meant[record.seq] for record in told if not record.explore)
    assert {record.arm for record in might} == {"treated", "holdout"} and not any(record.reasons for record in through)
    report = replay(engine.pilot, engine.ledger, engine.models_folder)
    assert (report.decisions, report.mismatches) == (len(told), 0)


def test_the_budget_of_a_day_is_kept_across_restarts_and_renewed_by_the_next(open_engine: Open, starter_trained: Trained) -> None:
    pilot, lines = exploring(starter_trained, "60"), starter_trained.lines("live")
    now = 20_700 * DAY
    for i in range(0, 900, 100):
        engine = open_engine(pilot=pilot, clock=ManualClock(now), snapshots=False)
        engine.decide(lines[i : i + 100])
        engine.ledger.close()
    engine = open_engine(pilot=pilot, clock=ManualClock(now + DAY), snapshots=False)
    spent = [record for record in records(engine) if record.explore and record.action == "wait"]
    cost = sum(Decimal("0.02") * Decimal(repr(record.event.amount)) for record in spent)
    assert 40 < cost <= 60 and len(spent) > 1
    assert engine.ledger.progress(f"explore:{now // DAY}") == pytest.approx(float(cost) * MILLION, abs=len(spent))
    assert not any(record.explore for record in records(engine)[-50:])
    engine.decide(lines[900:])
    assert any(record.explore for record in records(engine)[900:])
    report = replay(pilot, engine.ledger, engine.models_folder)
    assert report.mismatches == 0 and report.decisions == len(records(engine))


def test_a_chance_depends_on_what_came_before_alone() -> None:
    drawn, passed = Budget(0.1, Decimal(10)), Budget(0.1, Decimal(10))
    assert drawn.of(0, 7.0, 0.05) == passed.of(0, 7.0, 0.5) == 0.1
    assert (drawn.spent, passed.spent) == (7 * MILLION, 0)
    assert (drawn.of(1, 4.0, 0.5), passed.of(1, 4.0, 0.5)) == (0.0, 0.1)
    assert [drawn.of(2, cost, 0.0) for cost in (float("nan"), -1.0, float("inf"))] == [0.0] * 3
    assert Budget(0.1, Decimal(10), parts=4).of(0, 2.6, 0.5) == 0.0
    assert Recorded([0.0, 0.3]).of(1, 99.0, 0.1) == 0.3


def test_those_let_through_speak_for_the_hidden(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine(pilot=exploring(starter_trained))
    engine.decide(starter_trained.lines("live"))
    engine.observe(starter_trained.lines("live_outcomes"))
    judged = list(judge(engine.pilot, engine.ledger, 2**62))
    hidden = [item for item in judged if item.status == HIDDEN]
    speaking = [item for item in judged if item.speaks]
    assert hidden and all(item.label is None and item.explored and item.record.action == "remind" for item in hidden)
    assert all(item.speaks == pytest.approx(4) and item.record.action == "wait" for item in speaking)
    told = value(engine.pilot, iter(judged))
    assert told.statuses[HIDDEN] == len(hidden) and told.unknown == (0, 0)
    assert told.treated + told.holdout == len(judged)
    assert told.paired.low == float("-inf")  # what the baseline would have done on hidden ones is not known
    assert sum(item.speaks for item in speaking) == pytest.approx(len(hidden), rel=0.35)


def test_records_of_another_manifest_are_taken_as_they_are(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine(pilot=exploring(starter_trained))
    engine.decide(starter_trained.lines("live"))
    engine.observe(starter_trained.lines("live_outcomes"))
    other = exploring(starter_trained, "77")  # another budget, another manifest
    judged = list(judge(other, engine.ledger, 2**62))
    assert not any(item.speaks for item in judged) and not any(item.explored for item in judged)
    through = next(r for r in records(engine) if r.explore and r.action != engine.line.meant(r)[0])
    assert Line(other, {}).meant(through) == (through.action, through.quantity)


def test_months_add_up(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine(pilot=exploring(starter_trained))
    engine.decide(starter_trained.lines("live"))
    engine.observe(starter_trained.lines("live_outcomes"))
    now = max(item.time for item in judge(engine.pilot, engine.ledger, 2**62))
    months = monthly(engine.pilot, judge(engine.pilot, engine.ledger, now))
    told = value(engine.pilot, judge(engine.pilot, engine.ledger, now))
    assert list(months) == ["2026-03", "2026-04", "2026-05", "2026-06"]
    assert sum(month.realised for month in months.values()) == told.realised
    assert sum(month.decisions for month in months.values()) == told.decisions
    assert sum(month.unknown[0] for month in months.values()) == told.unknown[0] < 0
    assert [month.statuses.get(PENDING, 0) > 0 for month in months.values()] == [False, False, True, True]
    lines = list(profit_and_loss(months, told.currency))
    assert len(lines) == 2 + len(months) + 1 and lines[2].startswith("2026-03")


def test_without_exploration_the_interval_reaches_from_worst_to_best(open_engine: Open, starter_trained: Trained,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flightworthy.objective.effect.FEWEST_CASES", 20)
    pilot = exploring(starter_trained, explore="risk: 5%")
    engine = open_engine(pilot=pilot)
    engine.decide(starter_trained.lines("live"))
    engine.observe(starter_trained.lines("live_outcomes"))
    judged = list(judge(pilot, engine.ledger, 2**62))
    told, plain = value(pilot, iter(judged)), value(starter_trained.pilot, judge(starter_trained.pilot, engine.ledger, 2**62))
    assert told.unknown[0] < 0 < told.unknown[1] and not any(item.speaks for item in judged)
    assert told.effect.low < plain.effect.value < told.effect.high
    assert told.effect.high - told.effect.low > plain.effect.high - plain.effect.low


@pytest.mark.parametrize(("explore", "hidden", "says"), [
    (EXPLORE.replace("wait", "remind"), "[]", "cases are let through by an action that is not adverse"),
    (EXPLORE.replace("20%", "100%"), "[remind]", "between 0% and 100%"),
    (EXPLORE.replace("0.02 * amount", "amont"), "[remind]", "amont"),
    (EXPLORE, "[remnd]", "remnd"),
])
def test_mistakes_are_found(starter_trained: Trained, explore: str, hidden: str, says: str) -> None:
    with pytest.raises(ManifestError) as raised:
        exploring(starter_trained, hidden=hidden, explore=explore)
    assert says in str(raised.value)


def test_a_manifest_without_it_has_the_digests_it_had(starter_trained: Trained) -> None:
    text = (starter_trained.pilot.folder / "pilot.yaml").read_text()
    same = parse(text.replace("holdout: 20%}", "holdout: 20%, stages: [0%, 1%], automatic: true}"), folder=starter_trained.pilot.folder)
    other = exploring(starter_trained)
    assert (same.digest, same.recipe_digest) == (starter_trained.pilot.digest, starter_trained.pilot.recipe_digest)
    assert other.digest != same.digest and other.recipe_digest == same.recipe_digest
