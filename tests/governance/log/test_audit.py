"""An audit says nothing about a ledger as it was written, and something about any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.governance import reading
from flightworthy.governance.ledger import ACT, OUTCOME, Block, Entries, Entry
from flightworthy.governance.ledger_checks import entries
from flightworthy.governance.log import index, note
from flightworthy.governance.log.audit import Audit, audit
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.leaf import leaf_hash_of
from flightworthy.governance.log.note import Signer
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.governance.segment import seal
from flightworthy.ground.errors import LedgerError, ProofError

SIGNER = Signer("flightworthy/test/00000000", bytes(range(32)))
POLICY = Policy([SIGNER.verifier])


def written(count: int) -> list[Entry]:
    """Decisions, with two outcomes for every third and an act now and then."""
    made = []
    for entry in entries(1, count):
        kind, key = entry.kind, entry.key
        if entry.seq % 6 in (3, 4):
            kind, key = OUTCOME, f"event-{entry.seq // 6 * 6 + 1}"
        elif entry.seq % 50 == 0:
            kind, key = ACT, "switch"
        made.append(Entry(entry.seq, kind, key, entry.content, leaf_hash_of(entry.seq, kind, entry.content)))
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    made, all_ = SqliteLedger(tmp_path / "l.db"), written(1500)
    publisher = Publisher(made, [SIGNER])
    for start in range(0, 1500, 100):
        made.commit(Block(Entries.of(all_[start : start + 100])))
        if start % 300 == 0:
            publisher.publish()
    yield made
    made.close()


def change(ledger: SqliteLedger, statement: str, *values: object) -> Audit:
    with sqlite3.connect(ledger.path) as db:
        db.execute(statement, values)
    db.close()
    again = SqliteLedger(ledger.path, read_only=True)
    found = audit(again, POLICY)
    again.close()
    return found


def test_nothing_is_found_in_what_was_written(ledger: SqliteLedger) -> None:
    done: list[int] = []
    found = audit(ledger, POLICY, watch=done.append)
    assert found == Audit(1, 1500, 5, 0, 1300, []) and found.fine and done == [1500]
    for first in (2, 256, 257, 1000, 1300):
        assert audit(ledger, POLICY, first).findings == []
    kept = [p.note for p in ledger.log.checkpoints()]
    assert audit(ledger, POLICY, kept=kept).fine and audit(ledger, POLICY, 1000, kept).fine
    forged = note.signed(Checkpoint(SIGNER.verifier.name, 500, bytes(32)).text(), [SIGNER])
    for first in (1, 501, 1000):
        found = audit(ledger, POLICY, first, [forged]).findings
        assert len(found) == 1 and "of 500 that was put aside has a root that is not" in found[0]


@pytest.mark.parametrize("statement", [
    "DELETE FROM event WHERE id = 'event-7'", "INSERT INTO event VALUES ('forged', 5)", "UPDATE event SET seq = 8 WHERE id = 'event-7'",
    "UPDATE event SET id = 'event-7x' WHERE id = 'event-7'", "DELETE FROM newest WHERE kind = 'act'",
    "UPDATE newest SET seq = 3 WHERE kind = 'outcome' AND key = 'event-1'", "INSERT INTO newest VALUES ('outcome', 'forged', 1400)",
    "UPDATE newest SET key = 'event-2' WHERE kind = 'outcome' AND key = 'event-1'", "UPDATE head SET last = 1499",
    "UPDATE head SET last = 1501", "DELETE FROM segment WHERE first = 65", "DELETE FROM segment WHERE first > 1460",
    "UPDATE segment SET first = first + 1 WHERE first = 1465", "DELETE FROM subtree WHERE place = 2", "DELETE FROM subtree",
    "UPDATE subtree SET hash = zeroblob(32) WHERE place = 0", "INSERT INTO subtree VALUES (1, 5, zeroblob(32))",
    "UPDATE checkpoint SET size = 702 WHERE size = 700", "UPDATE checkpoint SET note = CAST(replace(note, '700', '701') AS BLOB) WHERE size = 700",
    "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 400) WHERE size = 700"])
def test_a_change_anywhere_is_found(ledger: SqliteLedger, statement: str) -> None:
    assert not change(ledger, statement).fine


@pytest.mark.parametrize("window", [64, 300, 1 << 24])
def test_the_index_is_compared_in_windows_of_any_size(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(index, "WINDOW", window)
    monkeypatch.setattr(reading, "SCANNED", 1)
    assert audit(ledger, POLICY).fine
    assert audit(ledger, POLICY, 700).fine
    found = change(ledger, "UPDATE event SET seq = 8 WHERE id = 'event-1201'").findings
    assert any("from event event-1201 to entry 8, which is another" in text for text in found)
    assert any("from event event-1201 to 8, not to entry 1201" in text for text in found)
    found = change(ledger, "DELETE FROM event WHERE id = 'event-7'").findings
    assert any("from event event-7 to None, not to entry 7" in text for text in found)


def test_an_index_out_of_order_is_found(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ids are there, and a search does not come across them all."""
    pairs = [pair for part in ledger.events(1, 1500) for pair in part]
    monkeypatch.setattr(ledger, "events", lambda first, last: iter([pairs[500:], pairs[:500]]))
    assert any("not in order" in text for text in audit(ledger, POLICY).findings)


def test_a_record_changed_with_all_that_an_operator_can_forge_is_found(ledger: SqliteLedger) -> None:
    """Body, leaves and seal fit each other again: only the tree tells."""
    row = sqlite3.connect(ledger.path).execute("SELECT first, count, kinds, body, leaves FROM segment WHERE first = 101").fetchone()
    other = SqliteLedger(ledger.path.parent / "other.db")
    part = ledger.read(range(101, 101 + row[1]))
    forged = part[3]._replace(content=b'{"seq":forged}')
    part[3] = forged._replace(leaf=leaf_hash_of(forged.seq, forged.kind, forged.content))
    other.commit(Block(Entries.of(entries(1, 100))))
    other.commit(Block(Entries.of(part)))
    body, leaves = sqlite3.connect(other.path).execute("SELECT body, leaves FROM segment WHERE first = 101").fetchone()
    other.close()
    found = change(ledger, "UPDATE segment SET body = ?, leaves = ?, seal = ? WHERE first = 101", body, leaves,
                   seal(row[0], row[1], row[2], leaves, body))
    assert any("root that is not that of its entries" in text or "another hash" in text for text in found.findings)


def test_a_tail_cut_off_with_its_checkpoints_is_found_by_who_kept_one(ledger: SqliteLedger) -> None:
    kept = ledger.log.newest()
    assert kept is not None
    for statement in ("DELETE FROM segment WHERE first > 1000", "DELETE FROM event WHERE seq > 1000", "DELETE FROM newest WHERE seq > 1000",
                      "DELETE FROM subtree WHERE place > 2", "DELETE FROM checkpoint WHERE size > 1000"):
        change(ledger, statement)
    found = change(ledger, "UPDATE head SET last = 1000")
    # What an outcome of the tail had replaced is lost from the index; apart from that the ledger is whole in itself.
    assert all("newest" in text or "outcome" in text or "act" in text for text in found.findings)
    again = SqliteLedger(ledger.path, read_only=True)
    told = audit(again, POLICY, kept=[kept.note]).findings
    assert any("put aside speaks of 1300 entries, the ledger ends at 1000" in text for text in told)
    again.close()


def test_a_ledger_without_any_checkpoint_proves_nothing(ledger: SqliteLedger) -> None:
    change(ledger, "DELETE FROM subtree")
    found = change(ledger, "DELETE FROM checkpoint").findings
    assert found == ["nothing of 1500 entries is published: there is no checkpoint"]


def test_a_publisher_does_not_sign_what_does_not_continue(ledger: SqliteLedger) -> None:
    change(ledger, "UPDATE head SET last = 1200")
    again = SqliteLedger(ledger.path)
    with pytest.raises(ProofError, match="nothing more is signed"):
        Publisher(again, [SIGNER])
    with pytest.raises(ProofError, match="belongs to another log"):
        Publisher(again, [Signer("other", bytes(32))])
    again.close()


def test_a_publisher_goes_on_where_it_was_and_after_errors(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Publisher(ledger, [SIGNER])
    real = type(ledger.log).publish

    def refuse(*_: object) -> None:
        raise LedgerError("no room", retryable=True)

    with monkeypatch.context() as broken:
        broken.setattr(type(ledger.log), "publish", refuse)
        with pytest.raises(LedgerError, match="no room"):
            publisher.publish()
        broken.setattr(type(ledger.log), "newest", refuse)
        broken.setattr(type(ledger.log), "publish", real)
        with pytest.raises(LedgerError, match="no room"):  # it goes back to what is kept, and that cannot be read either
            publisher.publish()
    made = publisher.publish()
    assert made is not None and (made.size, made.number) == (1500, 6) and publisher.publish() is None
    assert audit(ledger, POLICY) == Audit(1, 1500, 6, 0, 1500, [])


def test_checkpoints_of_others_are_findings(ledger: SqliteLedger) -> None:
    assert any("not signed by a key that is trusted" in text for text in audit(ledger, Policy()).findings)
    other = Signer("other/log", bytes(32))
    strange = SqliteLedger(ledger.path.parent / "other.db")
    strange.commit(Block(Entries.of(entries(1, 5))))
    published = Publisher(strange, [other]).publish()
    strange.close()
    assert published is not None
    both = Policy([SIGNER.verifier, other.verifier])
    assert any("is of another log" in text for text in audit(ledger, both, kept=[published.note]).findings)
    assert any("no signed note" in text for text in audit(ledger, POLICY, kept=[b"x"]).findings)
