"""The whole line on the embedded default: what is answered, what is durable, what comes back after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.held import retry
from flightworthy.decision.record import entries_of
from flightworthy.decision.replay import replay
from flightworthy.decision.rooms import Rooms, load_models
from flightworthy.decision.statement import value
from flightworthy.decision.valuation import FINAL, KNOWN, PENDING, judge
from flightworthy.decision.work import Arrivals
from flightworthy.governance.ledger import DECISION, OUTCOME, Block
from flightworthy.ground.clock import micros
from flightworthy.ground.errors import DataError, LedgerError, ModelError
from flightworthy.integration.contract import Rejection
from flightworthy.manifest.load import parse
from flightworthy.model.artifact import Artifact, ModelStore
from tests.conftest import PILOTS, Trained

Open = Callable[..., Engine]
DAY = 86_400_000_000


def altered(line: bytes, **changes: Any) -> bytes:
    """A record with members changed."""
    return msgspec.json.encode(msgspec.json.decode(line) | changes)


def test_a_decision_is_complete_and_in_the_ledger_before_it_is_answered(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    line = starter_trained.lines("live", 1)[0]
    record = engine.decide([line])[0]
    entry = engine.ledger.read([1])[0]
    stored = msgspec.msgpack.decode(entry.content)
    assert json.loads(msgspec.json.encode(stored["event"])) == json.loads(line)
    assert stored["action"] == record.action in ("wait", "remind")
    assert len(stored["features"]) == len(engine.pilot.feature_names)
    assert stored["model"].hex() == engine.line.chain.models["champion"].digest
    assert stored["path"] == ["champion"]
    assert stored["propensity"] == pytest.approx(0.2 if record.arm == "holdout" else 0.8)
    assert stored["pilot"].hex() == engine.pilot.digest


def test_bad_records_go_to_quarantine_and_do_not_stop_the_others(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    good = starter_trained.lines("live", 3)
    bad = [b"{broken", altered(good[0], invoice="X1", amount=-5), altered(good[0], invoice="X2", amount=1.234),
           altered(good[0], invoice="X3", issued="1999-01-01T00:00:00Z"),
           altered(good[0], invoice="X4", issued="2199-01-01T00:00:00Z")]
    results = engine.decide([good[0], *bad, good[1]])
    reasons = [r.reason for r in results if isinstance(r, Rejection)]
    assert reasons == ["malformed", "range", "scale", "late", "time_bounds"]
    assert [q.raw for q in engine.ledger.quarantine()] == bad
    assert [q.position for q in engine.ledger.quarantine()] == [1, 2, 3, 4, 5]
    assert engine.ledger.last() == 2


def test_retry_after_repair_admits_and_marks(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    line = starter_trained.lines("live", 1)[0]
    engine.decide([altered(line, amount=-5), altered(line, invoice="other", terms="never")])
    assert retry(engine) == (0, 2)
    assert retry(engine, 1, line) == (1, 0)
    assert engine.ledger.quarantine_counts() == {("admitted", "range"): 1, ("held", "category"): 1}
    with pytest.raises(DataError, match="no such record is held"):
        retry(engine, 1)
    assert engine.ledger.last() == 1


def test_an_outcome_before_its_decision_waits_in_quarantine(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    line = starter_trained.lines("live", 1)[0]
    name = json.loads(line)["invoice"]
    told = msgspec.json.encode({"invoice": name, "late": True, "known_at": "2026-04-01T00:00:00Z"})
    assert engine.observe([told, b"nonsense"])[0].reason == "no_decision"
    engine.decide([line])
    assert retry(engine) == (1, 1)
    again = engine.observe([told])[0]
    assert (again.kind, again.id, again.label, again.decision) == ("outcome", name, 1.0, 1)
    outcome = next(engine.ledger.scan(1, (OUTCOME,)))
    assert msgspec.msgpack.decode(outcome.content)["decision"] == 1


def test_outcomes_change_later_features_and_corrections_undo_them(open_engine: Open, starter_trained: Trained) -> None:
    """The same history with and without a report that was withdrawn ends in the same state."""
    lines = starter_trained.lines("live", 400)
    names = [json.loads(line)["invoice"] for line in lines[:50]]
    engine = open_engine()
    engine.decide(lines[:300])
    before = engine.state.digest()
    engine.observe([msgspec.json.encode({"invoice": n, "late": True}) for n in names])
    assert engine.state.digest() != before
    engine.observe([msgspec.json.encode({"invoice": n, "late": False}) for n in names])
    assert engine.state.digest() == before


def test_events_and_outcomes_mixed_in_any_batches_leave_the_same_ledger(open_engine: Open, starter_trained: Trained) -> None:
    lines = starter_trained.lines("live", 300)
    mixed: list[tuple[int, bytes]] = []
    for i, line in enumerate(lines):
        mixed.append((0, line))
        if i % 7 == 3:
            mixed.append((1, msgspec.json.encode({"invoice": json.loads(lines[i - 2])["invoice"], "late": i % 2 == 0})))
    contents = []
    for size in (1, 64, 1000):
        engine = open_engine(snapshots=False)
        assert engine.ledger.last() == 0
        results = [r for a in range(0, len(mixed), size) for r in engine.process(Arrivals(
            [raw for _, raw in mixed[a : a + size]], engine.clock.now(), [kind for kind, _ in mixed[a : a + size]]))]
        assert len(results) == len(mixed)
        contents.append([_substance(e.content) for e in engine.ledger.scan()])
        state = engine.state.digest()
        engine.ledger.close()
        (engine.ledger.path).unlink()
        for extra in engine.ledger.path.parent.glob("ledger.db-*"):
            extra.unlink()
    assert contents[0] == contents[1] == contents[2]
    assert len(state) == 64


def _substance(content: bytes) -> dict[str, Any]:
    return {k: repr(v) for k, v in msgspec.msgpack.decode(content).items() if k not in ("arrived", "decided", "clocks", "known_at")}


def test_state_is_rebuilt_from_snapshot_and_ledger_bit_for_bit(open_engine: Open, starter_trained: Trained) -> None:
    lines, told = starter_trained.lines("live", 600), starter_trained.lines("live_outcomes", 200)
    engine = open_engine()
    engine.decide(lines[:400])
    engine.save()
    engine.decide(lines[400:])
    engine.observe(told)
    digest, last = engine.state.digest(), engine.ledger.last()
    engine.ledger.close()
    with_snapshot = open_engine()
    assert with_snapshot.state.digest() == digest
    assert with_snapshot.recovered == last - 400
    with_snapshot.ledger.close()
    from_scratch = open_engine(snapshots=False)
    assert from_scratch.state.digest() == digest
    assert from_scratch.recovered == last
    assert from_scratch.admission.watermark == with_snapshot.admission.watermark


def test_a_snapshot_ahead_of_its_ledger_is_refused(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 5))
    engine.close()
    for file in engine.ledger.path.parent.glob("ledger.db*"):
        file.unlink()
    with pytest.raises(LedgerError, match="ahead of the ledger"):
        open_engine()


def test_replay_finds_no_difference_and_sees_one(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 500))
    engine.observe(starter_trained.lines("live_outcomes", 300))
    models = engine.ledger.path.parent / "models"
    report = replay(engine.pilot, engine.ledger, models)
    assert (report.decisions, report.mismatches, report.other_manifest) == (500, 0, 0)
    genuine = engine.line.records.read(engine.ledger.read([500])[0])
    record = msgspec.structs.replace(genuine, seq=engine.ledger.last() + 1, id="forged",
                                     features=[0.5] * len(genuine.features))
    engine.ledger.commit(Block(entries_of([record])))
    report = replay(engine.pilot, engine.ledger, models)
    assert report.mismatches == 1
    assert "features" in report.differences[0]["members"]


def test_replay_leaves_decisions_of_another_manifest_uncompared(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 20))
    text = (PILOTS / "starter" / "pilot.yaml").read_text().replace("amount > 4000", "amount > 3000")
    report = replay(parse(text, folder=PILOTS / "starter"), engine.ledger, engine.ledger.path.parent / "models")
    assert (report.decisions, report.other_manifest, report.mismatches) == (0, 20, 0)


class Broken:
    """A model that fails for some rows, or altogether."""

    def __init__(self, model: Any, how: str) -> None:
        self.__dict__.update(model.__dict__)
        self.model, self.how = model, how

    def predict(self, x: Any) -> Any:
        if self.how == "raises":
            raise ValueError("out of order")
        out = self.model.predict(x)
        if self.how == "shape":
            return out[:, :0]
        out[::2] = np.nan
        return out


@pytest.mark.parametrize(("how", "said"), [("raises", "ValueError: out of order"), ("shape", "gave shape"), ("nan", "not finite")])
def test_a_failing_model_is_passed_over_and_the_path_is_recorded(open_engine: Open, starter_trained: Trained, how: str,
                                                                 said: str) -> None:
    engine = open_engine()
    engine.line.chain.models["champion"] = Broken(engine.line.chain.models["champion"], how)
    records = engine.decide(starter_trained.lines("live", 40))
    failed = [r for r in records if r.path[-1] == "baseline"]
    assert len(failed) == (20 if how == "nan" else 40)
    assert all(r.path[0].startswith("champion: ") and said in r.path[0] and r.model is None for r in failed)
    assert all(r.action == r.otherwise for r in failed)
    # The one that answers for every other row breaks its promise that rows do not depend on each other.
    assert how == "nan" or replay(engine.pilot, engine.ledger, engine.ledger.path.parent / "models").mismatches == 0


def test_the_previous_champion_answers_for_the_failing_one(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    store = ModelStore(engine.ledger.path.parent / "models")
    content = store.champion().content
    newer = Artifact({**content, "references": [0.0] * len(content["references"])})
    store.save(newer)
    engine.ledger.close()
    engine = open_engine()
    assert set(engine.line.chain.models) == {"champion", "previous"}
    engine.line.chain.models["champion"] = Broken(engine.line.chain.models["champion"], "raises")
    record = engine.decide(starter_trained.lines("live", 1))[0]
    assert record.path[-1] == "previous"
    assert record.model.hex() == engine.line.chain.models["previous"].digest
    assert replay(engine.pilot, engine.ledger, store.folder).mismatches == 0


def test_a_safe_default_ends_the_chain(open_engine: Open, starter_trained: Trained) -> None:
    text = (PILOTS / "starter" / "pilot.yaml").read_text().replace("fallback: [previous, baseline]",
                                                                   "fallback: [previous, {then: remind, quantity: 3}]")
    engine = open_engine(pilot=parse(text, folder=PILOTS / "starter"))
    engine.line.chain.models["champion"] = Broken(engine.line.chain.models["champion"], "raises")
    records = engine.decide(starter_trained.lines("live", 30))
    treated = [r for r in records if r.arm == "treated"]
    assert treated
    assert all((r.path[-1], r.action, r.quantity) == ("default", "remind", 3.0) for r in treated)
    assert all(r.reasons for r in treated)


def test_adverse_decisions_carry_reasons_in_words(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    records = engine.decide(starter_trained.lines("live", 800))
    for record in records:
        assert bool(record.reasons) == (record.action == "remind")
    said = {reason.say for r in records for reason in r.reasons if r.arm == "treated"}
    assert said <= {"Earlier invoices were paid late", "The amount is high for this customer",
                    "No single factor; a combination of several"}
    by_rule = [r for r in records if r.arm == "holdout" and r.action == "remind"]
    assert by_rule
    assert all(r.reasons[0].say == "The amount is high for this customer" for r in by_rule)


def test_the_holdout_is_drawn_by_customer_and_decided_by_the_baseline(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    records = engine.decide(starter_trained.lines("live", 900))
    arms: dict[str, set[str]] = {}
    for record in records:
        arms.setdefault(record.event.customer_id, set()).add(record.arm)
        if record.arm == "holdout":
            assert record.action == record.otherwise
    assert all(len(found) == 1 for found in arms.values())
    share = sum(found == {"holdout"} for found in arms.values()) / len(arms)
    assert 0.1 < share < 0.3


def test_a_failed_commit_leaves_no_trace_and_the_engine_recovers(open_engine: Open, starter_trained: Trained,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    lines = starter_trained.lines("live", 20)
    engine.decide(lines[:10])
    state = engine.state.digest()

    def full(block: Block) -> None:
        raise LedgerError("disk full", retryable=True)

    with monkeypatch.context() as patched:
        patched.setattr(engine.ledger, "commit", full)
        with pytest.raises(LedgerError, match="disk full"):
            engine.decide(lines[10:])
    assert engine.state.digest() == state
    assert [r.seq for r in engine.decide(lines[10:])] == list(range(11, 21))


def test_a_mistake_with_one_record_does_not_cost_the_others(open_engine: Open, starter_trained: Trained,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 5)
    read = engine.line.contract.read

    def mistaken(raw: bytes) -> Any:
        if raw == lines[2]:
            raise OverflowError("beyond us")
        return read(raw)

    with monkeypatch.context() as patched:
        patched.setattr(engine.line.contract, "read_all", lambda _: None)
        patched.setattr(engine.line.contract, "read", mistaken)
        results = engine.decide(lines)
    assert [getattr(result, "seq", None) for result in results] == [1, 2, None, 3, 4]
    held = engine.ledger.quarantine()
    assert [(h.reason, h.raw) for h in held] == [("malformed", lines[2])] and "beyond us" in held[0].message
    assert engine.decide([lines[2]])[0].seq == 5  # nothing stands against it once the mistake is mended


def test_a_model_for_other_features_is_refused(open_engine: Open) -> None:
    text = (PILOTS / "starter" / "pilot.yaml").read_text().replace("windows: [90d, 365d]", "windows: [90d, 300d]")
    text = text.replace("customer.mean_amount_365d", "customer.mean_amount_300d")
    with pytest.raises(ModelError, match="another contract, features or inputs"):
        open_engine(pilot=parse(text, folder=PILOTS / "starter"))


def test_without_a_model_nothing_opens(starter_trained: Trained, tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="no model has been trained"):
        load_models(starter_trained.pilot, tmp_path / "models")
    with pytest.raises(LedgerError, match="there is no ledger here"):
        Rooms.of(starter_trained.pilot, tmp_path).open_ledger(read_only=True)


def test_value_prices_known_final_and_pending_decisions_exactly(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live"))
    engine.observe(starter_trained.lines("live_outcomes"))
    now = micros(starter_now(starter_trained))
    judged = list(judge(engine.pilot, engine.ledger, now))
    assert {j.status for j in judged} == {KNOWN, FINAL, PENDING}
    for j in judged[:200]:
        amount, cent = Decimal(str(j.record.event.amount)), Decimal("0.01")
        if j.status == KNOWN and j.record.action == "remind":
            assert j.value == (Decimal("0.02") * amount - Decimal("1.5")).quantize(cent, ROUND_HALF_EVEN)
        if j.status == FINAL:
            assert j.value == (Decimal("-1.50") if j.record.action == "remind" else 0)
        if j.status == PENDING:
            assert j.bounds[0] <= j.bounds[1]
    worth = value(engine.pilot, iter(judged))
    assert worth.decisions == len(judged) == sum(worth.statuses.values())
    assert worth.treated + worth.holdout == len([j for j in judged if j.status != PENDING])
    assert worth.realised == sum(j.value for j in judged if j.record.arm == "treated" and j.status != PENDING)
    assert worth.effect.low < worth.effect.value < worth.effect.high
    assert worth.running_cost == worth.treated * Decimal("0.001")


def starter_now(trained: Trained) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(trained.made["now"])


def test_a_correction_changes_the_value_from_when_it_was_known(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    line = starter_trained.lines("live", 1)[0]
    record = engine.decide([line])[0]
    told = [{"late": True, "known_at": "2026-05-01T00:00:00Z"}, {"late": False, "known_at": "2026-06-01T00:00:00Z"}]
    engine.observe([msgspec.json.encode({"invoice": record.id, **t}) for t in told])
    from datetime import UTC, datetime

    labels = [next(judge(engine.pilot, engine.ledger, micros(datetime(2026, month, 15, tzinfo=UTC)))).label
              for month in (3, 4, 5, 6)]
    assert labels == [None, 0.0, 1.0, 0.0]


def test_what_a_caller_was_told_instead_is_priced(open_engine: Open, starter_trained: Trained) -> None:
    """The acknowledgement of a commit was lost, and the safe default answered beside the ledger: that is what was done."""
    engine = open_engine()
    records = engine.decide(starter_trained.lines("live", 40))
    reminded = next(record for record in records if record.action == "remind")
    engine.observe([msgspec.json.encode({"invoice": reminded.id, "late": True, "known_at": "2026-05-01T00:00:00Z"})])
    now = micros(starter_now(starter_trained)) + 400 * 86_400_000_000

    def worth() -> Any:
        return next(j for j in judge(engine.pilot, engine.ledger, now) if j.record.seq == reminded.seq)

    before = worth()
    said = {"why": "spilled: no answer in time", "action": "wait", "quantity": "", "decided": "2026-04-01T00:00:00Z",
            "entry": str(reminded.seq), "rejected": ""}
    engine.acts("service", [(f"answered:{reminded.id}", said), ("answered:gone", said | {"entry": ""})])
    after = worth()
    assert before.value > after.value and after.value == -before.value - Decimal("1.50") and after.otherwise == before.otherwise


def test_every_decision_has_one_entry_and_numbers_have_no_gap(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 100))
    engine.observe(starter_trained.lines("live_outcomes", 50))
    seqs = [e.seq for e in engine.ledger.scan()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len({e.key for e in engine.ledger.scan(1, (DECISION,))}) == 100
    assert replace(Arrivals([], 0), position=3).position == 3
    assert engine.process(Arrivals([], engine.clock.now())) == []


def test_the_kill_switch_sends_everything_to_the_baseline_and_outlives_a_restart(open_engine: Open,
                                                                                starter_trained: Trained) -> None:
    engine = open_engine()
    lines = starter_trained.lines("live", 30)
    before = engine.decide(lines[:10])
    act = engine.kill(True, "alice", "too many reviews")
    assert (act.kind, act.id, act.who, act.said) == ("act", "kill-switch", "alice", {"switch": "on", "why": "too many reviews"})
    killed = engine.decide(lines[10:20])
    assert {(r.by, tuple(r.path), r.model, r.action == r.otherwise) for r in killed} == {
        ("baseline", ("kill-switch", "baseline"), None, True)}
    engine.ledger.close()
    engine = open_engine()
    assert engine.killed
    assert engine.decide(lines[20:21])[0].by == "baseline"
    engine.kill(False, "bob", "mended")
    after = engine.decide(lines[21:])
    assert {r.path[-1] for r in before + after} == {"champion"}
    found = replay(engine.pilot, engine.ledger, starter_trained.var / "models")
    assert (found.decisions, found.mismatches) == (30, 0)
    engine.ledger.close()
    assert not open_engine().killed


def test_a_correction_back_is_taken_while_the_correction_is_in_flight(open_engine: Open, starter_trained: Trained) -> None:
    """Late, then not late in a batch under way: saying late again is news, though late is what the ledger says."""
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 1))
    name = json.loads(starter_trained.lines("live", 1)[0])["invoice"]
    late, not_late = (msgspec.json.encode({"invoice": name, "late": value}) for value in (True, False))
    engine.observe([late])
    works = [engine.prepare(Arrivals([told], engine.clock.now(), [1])) for told in (not_late, late, late)]
    for work in works:
        engine.score(work)
        engine.finish(work)
        engine.commit(work)
    labels = [engine.line.records.read(e).label for e in engine.ledger.scan(1, (OUTCOME,))]
    assert labels == [1.0, 0.0, 1.0]
    assert works[2].answers() == works[1].answers()
    assert not engine.admission.told
    assert [r.seq for r in engine.observe([late, not_late, not_late])] == [4, 5, 5]
    assert engine.ledger.last() == 5


def test_retry_sends_each_record_in_its_own_way(open_engine: Open, starter_trained: Trained) -> None:
    """An event of the past stays one, an outcome stays one whatever was wrong with it, a row of a table keeps its types, and
    a repair that clashes with another event is not admitted."""
    engine = open_engine()
    lines = starter_trained.lines("live", 4)
    event = msgspec.json.decode(lines[1])
    engine.decide([lines[0], lines[1].replace(b'"net', b'"gros')])
    engine.process(Arrivals([lines[2][:-1]], engine.clock.now(), past=True))
    name = msgspec.json.decode(lines[0])["invoice"]
    engine.observe([b'{"invoice":"%s","late":true,"late":true}' % name.encode()])
    engine.decide([{**msgspec.json.decode(lines[3]), "amount": "12.345"}])
    held = engine.ledger.quarantine()
    assert [(q.kind, q.table) for q in held] == [(0, False), (2, False), (1, False), (0, True)]
    assert retry(engine, held[0].id, msgspec.json.encode(event | {"invoice": name})) == (0, 1)
    assert retry(engine, held[1].id, lines[2]) == (1, 0)
    assert engine.ledger.read([2])[0].kind == "history"
    assert retry(engine, held[2].id, b'{"invoice":"%s","late":true}' % name.encode()) == (1, 0)
    assert retry(engine, held[3].id) == (0, 1)
    assert engine.ledger.last() == 3


def test_after_a_change_of_features_replay_compares_nothing(open_engine: Open, starter_trained: Trained) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 20))
    text = (PILOTS / "starter" / "pilot.yaml").read_text()
    other = parse(text.replace("n: count()", "n: count(), biggest: max(amount)", 1))
    found = replay(other, engine.ledger, starter_trained.var / "models")
    assert (found.decisions, found.other_manifest) == (0, engine.ledger.last())
