"""What commits write ahead, and what SQLite writes ahead, is moved beside them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.governance.ledger import Block, Entries
from flightworthy.governance.ledger_checks import entries
from flightworthy.ground.errors import LedgerError


def block(first: int, n: int) -> Block:
    return Block(Entries.of(entries(first, n)))


def in_tables(path: Path) -> int:
    with sqlite3.connect(path) as plain:
        last = int(plain.execute("SELECT last FROM head").fetchone()[0])
    plain.close()
    return last


def test_commits_go_on_while_they_are_moved_and_both_logs_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger, seq = SqliteLedger(path), 1
    logs, files, until = [], [], time.monotonic() + 3.0
    while time.monotonic() < until:
        ledger.commit(block(seq, 50))
        seq += 50
        logs.append((tmp_path / "ledger.db-wal").stat().st_size)
        files.append(sum((tmp_path / f"ledger.db-ahead-{i}").stat().st_size for i in range(2)))
    assert any(t.name == "upkeep" for t in threading.enumerate())
    assert max(logs[len(logs) // 2:]) <= 3 * max(logs[: len(logs) // 2])  # not one log as long as all commits
    assert max(files) <= 16 << 20
    assert seq - 1 - in_tables(path) < (seq - 1) / 4  # most of it has moved by now
    assert path.stat().st_size > 20 * 4096
    ledger.close()
    assert not any(t.name == "upkeep" for t in threading.enumerate())
    assert in_tables(path) == seq - 1 and [f.stat().st_size for f in tmp_path.glob("*-ahead-*")] == [0, 0]
    again = SqliteLedger(path, read_only=True)
    assert again.last() == seq - 1 and again.find([f"event-{seq - 1}"]) == {f"event-{seq - 1}": seq - 1}
    again.close()


def test_a_lone_commit_is_moved_soon(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit(block(1, 5))
    until = time.monotonic() + 10
    while in_tables(tmp_path / "ledger.db") < 5 and time.monotonic() < until:
        time.sleep(0.01)
    assert in_tables(tmp_path / "ledger.db") == 5
    reader = SqliteLedger(tmp_path / "ledger.db", read_only=True)
    assert reader.last() == 5 and sum(t.name == "upkeep" for t in threading.enumerate()) == 1
    reader.close()
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


def test_tables_that_refuse_are_heard_of_and_hold_up_nobody_until_there_is_too_much_ahead(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    assert ledger._tables.writer is not None
    ledger._tables.writer.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING):
        ledger.commit(block(1, 5))
        until = time.monotonic() + 10
        while "cannot be moved" not in caplog.text and time.monotonic() < until:
            time.sleep(0.01)
        ledger.commit(block(6, 5))
    assert caplog.text.count("cannot be moved") == 1 and "locked" in caplog.text
    monkeypatch.setattr("flightworthy.adapters.sqlite.ledger._MOST", 50)
    with pytest.raises(LedgerError, match="locked") as caught:
        ledger.commit(block(11, 5))
    assert caught.value.retryable and ledger.last() == 10 and list(ledger.scan()) == entries(1, 10)
    other.execute("ROLLBACK")
    other.close()
    ledger.commit(block(11, 5))
    assert in_tables(path) == 15
    ledger.close()


def test_a_ledger_closed_while_its_tables_refuse_keeps_what_is_ahead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    assert ledger._tables.writer is not None
    ledger._tables.writer.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.commit(block(1, 5))
    with caplog.at_level(logging.WARNING):
        ledger.close()
    assert "for the next start" in caplog.text
    reader = SqliteLedger(path, read_only=True)
    assert reader.last() == 5 and list(reader.scan()) == entries(1, 5)
    reader.close()
    other.execute("ROLLBACK")
    other.close()
    SqliteLedger(path).close()
    assert in_tables(path) == 5
