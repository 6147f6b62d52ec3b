"""What commits write ahead is moved into the database file beside them."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.governance.ledger import Block, Entries
from flightworthy.governance.ledger_checks import entries as made


def entries(first: int, n: int) -> Entries:
    return Entries.of(made(first, n))


def test_the_log_ahead_is_moved_while_commits_go_on_and_begins_anew(tmp_path: Path) -> None:
    ledger, seq = SqliteLedger(tmp_path / "ledger.db"), 1
    sizes, until = [], time.monotonic() + 3.0
    while time.monotonic() < until:
        ledger.commit(Block(entries(seq, 50)))
        seq += 50
        sizes.append((tmp_path / "ledger.db-wal").stat().st_size)
    assert any(t.name == "checkpoints" for t in threading.enumerate())
    assert max(sizes[len(sizes) // 2:]) <= 3 * max(sizes[: len(sizes) // 2])  # not one log as long as all commits
    assert (tmp_path / "ledger.db").stat().st_size > 20 * 4096
    ledger.close()
    assert not any(t.name == "checkpoints" for t in threading.enumerate())
    again = SqliteLedger(tmp_path / "ledger.db", read_only=True)
    assert again.last() == seq - 1 and again.find([f"event-{seq - 1}"]) == {f"event-{seq - 1}": seq - 1}
    again.close()


def test_a_ledger_that_is_only_read_moves_nothing(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit(Block(entries(1, 5)))
    reader = SqliteLedger(tmp_path / "ledger.db", read_only=True)
    assert reader.last() == 5 and sum(t.name == "checkpoints" for t in threading.enumerate()) == 1
    reader.close()
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()
