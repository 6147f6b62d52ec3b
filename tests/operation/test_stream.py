"""Streams: same results as single calls, resumption, failure of a stage, order of outcomes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from flightworthy.decision.engine import Engine
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.sources import Row
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import Item, merged
from tests.conftest import Trained

Open = Callable[..., Engine]


def items_of(trained: Trained) -> list[Item]:
    rows = learn.open_source(str(trained.data / trained.made["live"]), trained.pilot).rows()
    return list(merged(trained.pilot, rows, trained.lines("live_outcomes")))


def test_a_stream_decides_as_single_calls_do(open_engine: Open, starter_trained: Trained) -> None:
    items = items_of(starter_trained)
    engine = open_engine()
    report = stream.run(engine, items, "live", batch=37, snapshot_every=3)
    assert report.decisions + report.outcomes + report.quarantined == report.records == len(items)
    state = engine.state.digest()
    engine.close()
    again = open_engine()
    assert again.recovered == 0
    assert again.state.digest() == state
    assert stream.run(again, items, "other", batch=500).duplicates == report.decisions


def test_a_stream_goes_on_where_it_was_left(open_engine: Open, starter_trained: Trained) -> None:
    items = items_of(starter_trained)
    engine = open_engine()
    stream.run(engine, items[:500], "live")
    assert engine.ledger.progress("live") == 500
    rest = stream.run(engine, items, "live", resume=True)
    assert rest.records == len(items) - 500
    assert rest.duplicates == 0


@pytest.mark.parametrize("stage", ["prepare", "score", "commit"])
def test_a_failing_stage_ends_the_run_and_the_engine_recovers(open_engine: Open, starter_trained: Trained, stage: str,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    items = items_of(starter_trained)
    engine = open_engine()
    real, calls = getattr(engine, stage), []

    def failing(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise LedgerError("gone")
        return real(*args)

    before = gc.get_threshold(), sys.getswitchinterval()
    with monkeypatch.context() as patched:
        patched.setattr(engine, stage, failing)
        with pytest.raises(LedgerError, match="gone"):
            stream.run(engine, items, "live", batch=50)
    assert (gc.get_threshold(), sys.getswitchinterval()) == before
    assert engine.admission.next_seq == engine.ledger.last() + 1
    report = stream.run(engine, items, "live", batch=50, resume=True)
    assert report.duplicates == 0
    whole = [i for i in items if i.kind == 0]
    assert engine.ledger.last() - sum(1 for _ in engine.ledger.scan(1, ("outcome",))) == len(whole)


def test_outcomes_come_when_known_and_one_wild_time_does_not_move_the_others(starter_trained: Trained) -> None:
    def row(i: int, at: str) -> Row:
        return Row(msgspec.json.encode({"invoice": str(i), "issued": at, "customer_id": "a", "amount": 1.0, "terms": "net14"}))

    rows = [row(1, "2026-01-01T00:00:00Z"), row(2, "2062-01-01T00:00:00Z"), row(3, "2026-01-02T00:00:00Z"), Row(b"junk"),
            row(4, "2026-01-09T00:00:00Z"), *(row(i, "2026-01-10T00:00:00Z") for i in range(5, 20))]
    told = [msgspec.json.encode({"invoice": "1", "late": True, "known_at": "2026-01-05T00:00:00Z"}),
            msgspec.json.encode({"invoice": "3", "late": True, "known_at": "2027-01-05T00:00:00Z"})]
    found = list(merged(starter_trained.pilot, rows, told))
    assert [i.kind for i in found][:6] == [0, 0, 0, 1, 0, 0]
    assert len(found) == len(rows) + 1
    later = list(merged(starter_trained.pilot, rows, told, until=2**60))
    assert later[-1].kind == 1
    labelled = [Row({"invoice": "9", "issued": "2026-01-01T00:00:00Z"}, 1.0), Row({"invoice": "8", "issued":
                "2026-01-01T00:00:00Z"}, 0.0), Row({"invoice": "7", "issued": "2026-02-01T00:00:00Z"}, None)]
    kinds = [i.kind for i in merged(starter_trained.pilot, labelled)]
    assert kinds == [0, 0, 1, 0]
