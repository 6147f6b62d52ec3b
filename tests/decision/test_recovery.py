"""What a feature state is believed to hold, and what it does hold, when others write to the same ledger or commits fail."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.rooms import Rooms
from flightworthy.decision.work import Arrivals
from flightworthy.governance.ledger import Entry
from flightworthy.ground.errors import LedgerError
from tests.conftest import Trained

Open = Callable[..., Engine]


def _away(*_: Any) -> None:
    raise LedgerError("the ledger is away", retryable=True)


def test_no_snapshot_is_made_of_entries_that_are_not_in_the_ledger(open_engine: Open, starter_trained: Trained,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 20)
    engine.decide(lines[:10])
    engine.save()
    work = engine.prepare(Arrivals(lines[10:], engine.clock.now()))
    with pytest.raises(LedgerError, match="not in the ledger"):
        engine.capture()
    engine.score(work)
    engine.finish(work)
    with monkeypatch.context() as patched:
        patched.setattr(engine.ledger, "commit", _away)
        with pytest.raises(LedgerError, match="away"):
            engine.commit(work)
    with pytest.raises(LedgerError, match="not in the ledger"):
        engine.capture()
    assert engine.recover() == 0  # from the snapshot of the ten
    engine.capture()()


def test_a_snapshot_of_another_entry_is_not_believed(open_engine: Open, starter_trained: Trained,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 40)
    engine.decide(lines[:20])
    engine.close()
    kept = engine.ledger.path.parent
    shutil.copytree(kept.parent, before := kept.parent.parent / "before")
    for file in kept.glob("ledger.db*"):  # as a ledger that came back from an old copy, and went on in another way
        file.unlink()
    engine = open_engine(snapshots=False)
    engine.decide(lines[15:])
    digest = engine.state.digest()
    engine.ledger.close()
    snapshot = next(before.rglob("features.npz"))
    shutil.copy(snapshot, kept.parent / snapshot.relative_to(before))
    with caplog.at_level(logging.WARNING, "flightworthy.decision"):
        found = open_engine()
    assert "of another entry 20 than the ledger's" in caplog.text
    assert (found.recovered, found.state.digest()) == (25, digest)
    found.save()
    assert found.recover() == 0


def test_what_another_writes_while_the_ledger_is_read_is_not_skipped(open_engine: Open, starter_trained: Trained,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner of before may commit until whoever is next says that it has taken over."""
    owner, lines = open_engine(snapshots=False), starter_trained.lines("live", 30)
    owner.decide(lines[:20])
    ledger = Rooms.of(owner.pilot, owner.models_folder.parent).open_ledger()
    scan, late = ledger.scan, iter([lines[20:]])

    def scanned(*given: Any) -> Iterator[Entry]:
        yield from scan(*given)
        for some in late:  # after the last entry was read, and before anything else is asked
            owner.decide(some)

    monkeypatch.setattr(ledger, "scan", scanned)
    following = Engine(owner.pilot, ledger, owner.line.chain.models, models_folder=owner.models_folder)
    assert (following.recovered, following.admission.next_seq) == (20, 21)
    with pytest.raises(LedgerError, match="do not continue"):  # where writers take turns, it reads first what it did not
        following.act("takeover", "one", {})
    following.recover()
    following.act("takeover", "one", {})
    assert following.admission.next_seq == 32
    assert following.state.digest() == owner.state.digest()
    ledger.close()


def test_an_engine_that_cannot_be_opened_lets_its_ledger_go(open_engine: Open, starter_trained: Trained,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each try of a worker that waits for a server would leave a connection behind."""
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 10))
    engine.ledger.close()
    kind, closed, times = type(engine.ledger), list[bool](), list[bool]()
    close = kind.close

    def closing(ledger: Any) -> None:
        closed.append(True)
        close(ledger)

    def enough() -> None:
        times.append(True)
        raise LedgerError("enough", retryable=True)

    monkeypatch.setattr(kind, "close", closing)
    with pytest.raises(LedgerError, match="enough"):
        open_engine(snapshots=False, between=enough)
    assert (len(closed), len(times)) == (1, 1)
