"""Snapshots beside the decisions: the state as it was at the fork, whatever the parent does meanwhile."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.integration.features.snapshot import SnapshotFile
from flightworthy.operation.service.saver import Saver
from tests.conftest import Trained


def folder_of(engine: Engine) -> Path:
    """Where its snapshots lie."""
    assert isinstance(engine._snapshots, SnapshotFile)
    return engine._snapshots.path.parent


def test_a_snapshot_is_of_the_instant_it_began_and_a_start_goes_on_from_it(open_engine: Callable[..., Engine],
                                                                           starter_trained: Trained) -> None:
    engine, lines, saver = open_engine(), starter_trained.lines("live", 300), Saver()
    engine.decide(lines[:100])
    at = engine.admission.next_seq - 1
    assert saver.ready
    saver.save(engine)
    engine.decide(lines[100:300])  # while the child writes
    saver.wait()
    assert not list(folder_of(engine).glob("*.part"))
    again = open_engine()
    assert again.recovered == engine.admission.next_seq - 1 - at > 0
    assert again.state.digest() == engine.state.digest()
    assert again.ledger.last() == engine.ledger.last()


def test_while_one_is_written_and_for_a_while_after_it_there_is_no_other(open_engine: Callable[..., Engine],
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    engine, saver = open_engine(), Saver()
    now = [100.0]
    monkeypatch.setattr("flightworthy.operation.service.saver.time.monotonic", lambda: now[0])
    saver.save(engine)
    now[0] = 103.0
    saver.wait()
    assert not saver.ready
    now[0] = 114.9
    assert not saver.ready
    now[0] = 115.0
    assert saver.ready


def test_one_that_fails_is_said_and_changes_nothing(open_engine: Callable[..., Engine], starter_trained: Trained,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    engine, saver = open_engine(), Saver()
    folder = folder_of(engine)
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        saver.save(engine)
        saver.wait()
    assert "no snapshot was written" in caplog.text
    assert len(engine.decide(starter_trained.lines("live", 5))) == 5
    folder.unlink()


def test_a_fork_that_is_refused_is_tried_again_later(open_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    engine, saver, now = open_engine(), Saver(), [100.0]
    monkeypatch.setattr("flightworthy.operation.service.saver.time.monotonic", lambda: now[0])
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr("os.fork", refused)
        saver.save(engine)
    assert "no snapshot was written" in caplog.text and not saver.ready
    now[0] = 160.0
    assert saver.ready
    saver.wait()
