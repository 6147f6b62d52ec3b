"""Streams: same results as single calls, resumption, failure of a stage, order of outcomes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import msgspec
import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.learn import read_history
from flightworthy.decision.replay import replay
from flightworthy.decision.work import Arrivals
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.sources import Row, chunked, rows
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import Lot, merged
from tests.conftest import Trained

Open = Callable[..., Engine]


def lots_of(trained: Trained) -> list[Lot]:
    rows = learn.open_source(str(trained.data / trained.made["live"]), trained.pilot).chunks()
    return list(merged(trained.pilot, rows, trained.lines("live_outcomes")))


def kinds(lots: Iterable[Lot]) -> list[int]:
    return [kind for lot in lots for kind in lot.kinds or [0] * len(lot.raws)]


def size(lots: Iterable[Lot]) -> int:
    return sum(len(lot.raws) for lot in lots)


def test_a_stream_decides_as_single_calls_do(open_engine: Open, starter_trained: Trained) -> None:
    lots = lots_of(starter_trained)
    engine = open_engine()
    report = stream.run(engine, lots, "live", batch=37, snapshot_every=3)
    assert report.decisions + report.outcomes + report.quarantined == report.records == size(lots)
    state = engine.state.digest()
    engine.close()
    again = open_engine()
    assert again.recovered == 0
    assert again.state.digest() == state
    assert stream.run(again, lots, "other", batch=500).duplicates == report.decisions + report.outcomes


def test_a_stream_goes_on_where_it_was_left(open_engine: Open, starter_trained: Trained) -> None:
    lots = lots_of(starter_trained)
    engine = open_engine()
    stream.run(engine, [next(stream.batches(lots, 500))], "live", key="live")
    assert engine.ledger.progress("live") == 500
    rest = stream.run(engine, lots, "live", key="live")
    assert rest.records == size(lots) - 500
    assert rest.duplicates == 0


@pytest.mark.parametrize("stage", ["prepare", "score", "commit"])
def test_a_failing_stage_ends_the_run_and_the_engine_recovers(open_engine: Open, starter_trained: Trained, stage: str,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    lots = lots_of(starter_trained)
    engine = open_engine()
    real, calls = getattr(engine, stage), []

    def failing(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise LedgerError("gone")
        return real(*args)

    before = gc.get_threshold()
    with monkeypatch.context() as patched:
        patched.setattr(engine, stage, failing)
        with pytest.raises(LedgerError, match="gone"):
            stream.run(engine, lots, "live", batch=50, key="live")
    assert gc.get_threshold() == before
    assert engine.admission.next_seq == engine.ledger.last() + 1
    report = stream.run(engine, lots, "live", batch=50, key="live")
    assert report.duplicates == 0
    events = [kind for lot in lots for kind in lot.kinds or [0] * len(lot.raws) if kind == 0]
    assert engine.ledger.last() - sum(1 for _ in engine.ledger.scan(1, ("outcome",))) == len(events)


def test_outcomes_come_when_known_and_one_wild_time_does_not_move_the_others(starter_trained: Trained) -> None:
    def row(i: int, at: str) -> Row:
        return Row(msgspec.json.encode({"invoice": str(i), "issued": at, "customer_id": "a", "amount": 1.0, "terms": "net14"}))

    rows = [row(1, "2026-01-01T00:00:00Z"), row(2, "2062-01-01T00:00:00Z"), row(3, "2026-01-02T00:00:00Z"), Row(b"junk"),
            row(4, "2026-01-09T00:00:00Z"), *(row(i, "2026-01-10T00:00:00Z") for i in range(5, 20))]
    told = [msgspec.json.encode({"invoice": "1", "late": True, "known_at": "2026-01-05T00:00:00Z"}),
            msgspec.json.encode({"invoice": "3", "late": True, "known_at": "2027-01-05T00:00:00Z"})]
    found = kinds(merged(starter_trained.pilot, chunked(rows, 3), told))
    assert found[:6] == [0, 0, 0, 1, 0, 0]
    assert len(found) == len(rows) + 1
    later = kinds(merged(starter_trained.pilot, chunked(rows), told, until=2**60))
    assert later[-1] == 1
    labelled = [Row({"invoice": "9", "issued": "2026-01-01T00:00:00Z"}, 1.0), Row({"invoice": "8", "issued":
                "2026-01-01T00:00:00Z"}, 0.0), Row({"invoice": "7", "issued": "2026-02-01T00:00:00Z"}, None)]
    for size_of_chunks in (1, 2, 3):
        assert kinds(merged(starter_trained.pilot, chunked(labelled, size_of_chunks))) == [0, 0, 1, 0]


def test_lots_are_cut_to_size_and_the_past_stays_apart() -> None:
    lots = [Lot([b"a", b"b", b"c"], None, True), Lot([b"d"], [1], True), Lot([b"e", b"f", b"g"], [0, 1, 0])]
    found = list(stream.batches(lots, 2))
    assert [(lot.raws, lot.kinds, lot.past) for lot in found] == [
        ([b"a", b"b"], None, True), ([b"c", b"d"], [0, 1], True), ([b"e", b"f"], [0, 1], False), ([b"g"], None, False)]
    for skip in range(8):
        rest = [raw for lot in stream.batches(lots, 3, skip) for raw in lot.raws]
        assert rest == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"][skip:]


def test_after_a_history_the_features_are_those_of_one_pass_over_both(open_engine: Open, starter_trained: Trained) -> None:
    pilot, data, made = starter_trained.pilot, starter_trained.data, starter_trained.made
    past, live = (learn.open_source(str(data / made[name]), pilot) for name in ("history", "live"))
    told = starter_trained.lines("history_outcomes") + starter_trained.lines("live_outcomes")
    engine = open_engine()
    report = stream.run(engine, merged(pilot, live.chunks(), told, history=past.chunks()), "live", batch=64, snapshot_every=9)
    assert report.remembered > 1000
    records = [engine.line.records.read(e) for e in engine.ledger.scan(1, ("decision",))]
    table = learn.outcomes_by_id(pilot, told)
    both = learn.labelled(pilot, chain(rows(past.chunks()), rows(live.chunks())), table)
    frame = read_history(engine.line, both).frame[report.remembered:]
    assert [r.features for r in records] == pytest.approx(frame[:, engine.line.frames.features], abs=0, rel=0, nan_ok=True)
    state = engine.state.digest()
    engine.ledger.close()
    again = open_engine()
    assert (again.state.digest(), again.recovered > 0) == (state, True)
    assert replay(pilot, again.ledger, starter_trained.var / "models").mismatches == 0


def test_an_event_of_the_past_is_not_decided_and_its_outcome_is_taken(open_engine: Open, starter_trained: Trained) -> None:
    pilot, engine = starter_trained.pilot, open_engine()
    lines = starter_trained.lines("history")
    lot = Lot(lines[:20], None, True)
    assert stream.run(engine, [lot, lot], "history").remembered == 20
    refused = engine.decide([lines[3]])[0]
    assert (refused.reason, refused.field) == ("in_history", pilot.manifest.events.id)
    event = msgspec.json.decode(lines[3])
    told = msgspec.json.encode({pilot.manifest.events.id: event[pilot.manifest.events.id], pilot.manifest.outcomes.label: True})
    first, same = (engine.observe([told])[0] for _ in range(2))
    assert first.kind == "outcome" and same == first
    conflict = msgspec.json.encode(event | {"amount": 1.25})
    engine.process(Arrivals([conflict], engine.clock.now(), past=True))
    assert [q.reason for q in engine.ledger.quarantine()] == ["in_history", "id_conflict"]
