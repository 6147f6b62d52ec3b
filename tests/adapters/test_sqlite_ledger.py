"""The SQLite ledger keeps the contract of all ledgers, and its own promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import Block, Entries, Ledger
from flightworthy.governance.ledger_checks import CHECKS, entries
from flightworthy.ground.errors import LedgerError


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_contract_of_ledgers(check: Callable[[Callable[[], Ledger]], None], tmp_path: Path) -> None:
    opened: list[Ledger] = []

    def open_() -> Ledger:
        opened.append(open_ledger("sqlite:///ledger.db", tmp_path))
        return opened[-1]

    check(open_)
    for ledger in opened:
        ledger.close()


def test_commits_are_flushed_to_disk(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    assert ledger._writer is not None
    assert ledger._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ledger.close()


@pytest.mark.parametrize("change", ["leaves = zeroblob(96)", "body = zeroblob(50)", "count = 2, leaves = substr(leaves, 33)",
                                    "kinds = '[]'", "seal = zeroblob(16)", "first = 0"])
def test_altered_entries_are_not_read_as_if_nothing_had_happened(tmp_path: Path, change: str) -> None:
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    ledger.commit(Block(Entries.of(entries(1, 3))))
    ledger.close()
    with sqlite3.connect(tmp_path / "l.db") as db:
        db.execute(f"UPDATE segment SET {change}")
    db.close()
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    with pytest.raises(LedgerError, match="altered or the disk is failing"):
        list(ledger.scan())
    ledger.close()


def test_reading_only_and_other_versions(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    reader = open_ledger("sqlite:///l.db", tmp_path, read_only=True)
    ledger.commit(Block(Entries.of(entries(1, 1))))
    assert reader.last() == 1
    with pytest.raises(LedgerError, match="for reading only"):
        reader.commit(Block(Entries.of(entries(2, 1))))
    ledger.close()
    reader.close()
    with sqlite3.connect(tmp_path / "l.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match="another version"):
        open_ledger("sqlite:///l.db", tmp_path)


def test_a_second_writer_cannot_fork_the_ledger(tmp_path: Path) -> None:
    one, two = open_ledger("sqlite:///l.db", tmp_path), open_ledger("sqlite:///l.db", tmp_path)
    one.commit(Block(Entries.of(entries(1, 2))))
    with pytest.raises(LedgerError, match="do not continue the ledger"):
        two.commit(Block(Entries.of(entries(1, 2))))
    two.commit(Block(Entries.of(entries(3, 1))))
    assert one.last() == 3
    one.close()
    two.close()


def test_a_ledger_of_the_schema_before_is_brought_up_to_date_by_a_writer(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    ledger.commit(Block(Entries.of(entries(1, 3))))
    ledger.close()
    with sqlite3.connect(tmp_path / "l.db") as db:
        db.execute("DROP TABLE subject")
        db.execute("PRAGMA user_version=3")
    db.close()
    with pytest.raises(LedgerError, match="written by another version"):
        open_ledger("sqlite:///l.db", tmp_path, read_only=True)
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    assert (list(ledger.scan()), ledger.subjects.count()) == (entries(1, 3), 0)
    ledger.close()
