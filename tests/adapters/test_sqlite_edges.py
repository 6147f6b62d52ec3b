"""What the embedded ledger refuses, and how it says so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import OUTCOME, Block, Entries
from flightworthy.governance.ledger_checks import entries, held
from flightworthy.ground.errors import LedgerError


def test_a_gap_inside_a_block_is_refused(tmp_path: Path) -> None:
    """Numbers 1, 3, 3 end where 1, 2, 3 would."""
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    block = entries(1, 3)
    block[1] = block[1]._replace(seq=3)
    with pytest.raises(LedgerError):
        ledger.commit(Block(Entries.of(block)))
    assert ledger.last() == 0
    ledger.close()


def test_a_crowded_file_says_that_a_retry_may_help(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert ledger._writer is not None
    ledger._writer.execute("PRAGMA busy_timeout=20")
    with pytest.raises(LedgerError, match="locked") as caught:
        ledger.commit(Block(Entries.of(entries(1, 1))))
    assert caught.value.retryable
    other.execute("COMMIT")
    other.close()
    ledger.commit(Block(Entries.of(entries(1, 1))))
    assert ledger.last() == 1
    ledger.close()


def test_the_same_key_twice_in_one_block_leaves_nothing(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///l.db", tmp_path)
    twice = [e._replace(key="same") for e in entries(1, 2)]
    with pytest.raises(LedgerError, match="exists already") as caught:
        ledger.commit(Block(Entries.of(twice), [held(1)]))
    assert not caught.value.retryable
    assert (ledger.last(), ledger.quarantine(), list(ledger.scan())) == (0, [], [])
    ledger.commit(Block(Entries.of([e._replace(kind=OUTCOME) for e in twice])))
    assert ledger.last() == 2
    ledger.close()


@pytest.mark.parametrize("where", ["file", "folder", "no database"])
def test_a_place_that_cannot_be_opened_is_a_ledger_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"not a database, but long enough to be taken for the header of one " * 20)
    (tmp_path / "folder").mkdir()
    path = {"file": "file/ledger.db", "folder": "folder", "no database": "file"}[where]
    with pytest.raises(LedgerError):
        open_ledger(f"sqlite:///{path}", tmp_path)


def test_reading_only_makes_no_file_and_a_closed_ledger_says_so(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger here"):
        open_ledger("sqlite:///sub/l.db", tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    ledger = open_ledger(f"sqlite:///{tmp_path}/l.db")
    ledger.close()
    with pytest.raises(LedgerError):
        ledger.last()
