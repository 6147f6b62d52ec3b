"""Events that come more than once: the first decision is the answer, whatever was sent with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.ground.canonical import encode
from tests.conftest import Trained
from tests.decision.test_engine import altered

Open = Callable[..., Engine]


def test_the_same_event_gets_the_same_decision_and_has_one_effect(open_engine: Open, starter_trained: Trained) -> None:
    """In one batch, in a later call, and after a restart."""
    engine = open_engine()
    lines = starter_trained.lines("live", 5)
    first = engine.decide([lines[0], lines[1], lines[0]])
    state = engine.state.digest()
    assert first[0] is first[2]
    assert encode(engine.decide([lines[1]])[0]) == encode(first[1])
    assert engine.state.digest() == state
    engine.close()
    again = open_engine()
    assert encode(again.decide([lines[0]])[0]) == encode(first[0])
    assert again.ledger.last() == 2


def test_a_batch_that_comes_again_is_read_from_the_ledger_in_one_go(open_engine: Open, starter_trained: Trained,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    lines = starter_trained.lines("live", 200)
    first, reads, read = engine.decide(lines), [], engine.ledger.read
    monkeypatch.setattr(engine.ledger, "read", lambda seqs: reads.append(len(seqs)) or read(seqs))
    again = engine.decide([*lines, b"{}", *lines[:3]])
    assert [encode(one) for one in [*again[:200], *again[201:]]] == [encode(one) for one in [*first, *first[:3]]]
    assert reads == [200]
    assert engine.ledger.last() == 200


def test_an_id_used_for_another_event_gets_the_first_decision_and_is_quarantined(open_engine: Open,
                                                                                 starter_trained: Trained) -> None:
    engine = open_engine()
    line = starter_trained.lines("live", 1)[0]
    other = altered(line, amount=1.25)
    first, second = engine.decide([line, other])
    assert second is first
    third = engine.decide([other])[0]
    assert encode(third) == encode(first)
    held = engine.ledger.quarantine()
    assert [(q.reason, q.raw) for q in held] == [("id_conflict", other)] * 2
