"""What every ledger must keep, as functions an adapter's author can run against their own.

Each takes a function that opens the same, initially empty store again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from flightworthy.governance.ledger import (
    ACT,
    DECISION,
    ERASED,
    EXPIRED,
    HISTORY,
    OUTCOME,
    Block,
    Entries,
    Entry,
    Ledger,
    Quarantined,
)
from flightworthy.governance.log.leaf import leaf_hash_of
from flightworthy.governance.log.store import Published
from flightworthy.governance.privacy.store import Subject
from flightworthy.ground.errors import LedgerError

Open = Callable[[], Ledger]


def entries(first: int, count: int, kind: str = DECISION) -> list[Entry]:
    """Entries with distinct keys and contents."""
    made = [(seq, b'{"seq":%d}' % seq) for seq in range(first, first + count)]
    return [Entry(seq, kind, f"event-{seq}", content, leaf_hash_of(seq, kind, content)) for seq, content in made]


def held(position: int) -> Quarantined:
    """A quarantined record."""
    return Quarantined("file", position, 1_000, "type", "amount", "expected a number", b"\x00raw\xff")


def check_entries_come_back_as_written(open_: Open) -> None:
    """Read, find, scan and last agree with what was committed, in blocks of any size."""
    ledger = open_()
    written: list[Entry] = []
    for size in (1, 7, 5000):
        block = entries(len(written) + 1, size, OUTCOME if size == 7 else DECISION)
        ledger.commit(Block(Entries.of(block)))
        written += block
    assert list(ledger.scan()) == written  # noqa: S101 - these are checks
    assert list(ledger.scan(4)) == written[3:]  # noqa: S101
    assert list(ledger.scan(1, (OUTCOME,))) == written[1:8]  # noqa: S101
    assert ledger.read([5008, 1, 3]) == [written[5007], written[0], written[2]]  # noqa: S101
    keys = [e.key for e in written] + ["unknown"] * 20_000
    assert ledger.find(keys) == {e.key: e.seq for e in written if e.kind == DECISION}  # noqa: S101
    pairs = [pair for part in ledger.events(3, 4000) for pair in part]
    assert pairs == sorted((e.key, e.seq) for e in written[2:4000] if e.kind == DECISION)  # noqa: S101
    assert [e for part in ledger.columns(3, 4000) for e in part] == written[2:4000]  # noqa: S101
    assert [e for part in ledger.columns(5000, 9000) for e in part] == written[4999:]  # noqa: S101
    assert ledger.last() == len(written)  # noqa: S101
    assert ledger.counts() == (5008, 5001, 7)  # noqa: S101


def check_an_empty_ledger_is_empty(open_: Open) -> None:
    """Nothing is found in nothing."""
    ledger = open_()
    assert (ledger.last(), list(ledger.scan()), ledger.find(["a"]), ledger.progress("s")) == (0, [], {}, 0)  # noqa: S101
    assert (ledger.quarantine(), ledger.quarantine_counts(), ledger.find([])) == ([], {}, {})  # noqa: S101
    _refused(lambda: ledger.read([1]))


def check_numbers_have_no_gap(open_: Open) -> None:
    """A block that does not continue the numbers is refused."""
    ledger = open_()
    ledger.commit(Block(Entries.of(entries(1, 2))))
    for wrong in (entries(1, 1), entries(4, 1), [*entries(3, 1), *entries(5, 1)]):
        _refused(lambda wrong=wrong: ledger.commit(Block(Entries.of(wrong))))  # type: ignore[misc]
    assert ledger.last() == 2  # noqa: S101


def check_an_event_is_decided_once_and_a_refused_block_leaves_nothing(open_: Open) -> None:
    """A second decision for a key is refused together with everything in its block."""
    ledger = open_()
    ledger.commit(Block(Entries.of(entries(1, 3))))
    again = entries(4, 2)
    again[1] = again[1]._replace(key="event-2")
    _refused(lambda: ledger.commit(Block(Entries.of(again), [held(1)], {"file": 9})))
    assert (ledger.last(), ledger.find(["event-4"])) == (3, {})  # noqa: S101
    assert (ledger.quarantine(), ledger.progress("file")) == ([], 0)  # noqa: S101
    ledger.commit(Block(Entries.of(entries(4, 1))))
    _refused(lambda: ledger.commit(Block(Entries.of([entries(5, 1, HISTORY)[0]._replace(key="event-4")]))))
    ledger.commit(Block(Entries.of(entries(5, 1, HISTORY))))
    assert ledger.find(["event-4", "event-5"]) == {"event-4": 4, "event-5": 5}  # noqa: S101


def check_the_newest_outcome_is_found(open_: Open) -> None:
    """Also when a block holds two of one event, and for events that have none."""
    ledger = open_()
    told = [e._replace(key=f"event-{e.seq % 2}") for e in entries(1, 5, OUTCOME)]
    ledger.commit(Block(Entries.of(told[:3])))
    assert ledger.newest(OUTCOME, ["event-0", "event-1", "event-9"]) == {"event-0": 2, "event-1": 3}  # noqa: S101
    ledger.commit(Block(Entries.of(told[3:])))
    assert ledger.newest(OUTCOME, ["event-0", "event-1"]) == {"event-0": 4, "event-1": 5}  # noqa: S101
    assert ledger.find(["event-0"]) == ledger.newest(OUTCOME, []) == ledger.newest(ACT, ["event-0"]) == {}  # noqa: S101


def check_what_was_committed_survives_reopening(open_: Open) -> None:
    """Entries, quarantine and progress are there for the next process."""
    ledger = open_()
    ledger.commit(Block(Entries.of(entries(1, 3)), [held(1), held(2)], {"file": 5, "other": 1}))
    ledger.close()
    ledger = open_()
    assert list(ledger.scan()) == entries(1, 3)  # noqa: S101
    assert [q.raw for q in ledger.quarantine()] == [b"\x00raw\xff"] * 2  # noqa: S101
    assert (ledger.progress("file"), ledger.progress("other")) == (5, 1)  # noqa: S101
    assert ledger.positions() == {"file": 5, "other": 1}  # noqa: S101


def check_quarantine_is_paged_counted_and_settled(open_: Open) -> None:
    """Ids grow; pages follow them; a settled record leaves the held ones."""
    ledger = open_()
    ledger.commit(Block(Entries(), [held(i) for i in range(5)]))
    ids = [q.id for q in ledger.quarantine()]
    assert ids == sorted(set(ids))  # noqa: S101
    assert [q.id for q in ledger.quarantine("held", ids[1], 2)] == ids[2:4]  # noqa: S101
    ledger.commit(Block(settled=[(ids[0], "admitted")]))
    assert ledger.quarantine_counts() == {("held", "type"): 4, ("admitted", "type"): 1}  # noqa: S101
    assert [q.position for q in ledger.quarantine("admitted")] == [0]  # noqa: S101
    ledger.commit(Block(quarantined=[replace(held(9), status="discarded")]))
    assert [q.position for q in ledger.quarantine("discarded")] == [9]  # noqa: S101


def check_the_log_keeps_hashes_and_checkpoints(open_: Open) -> None:
    """Hashes of entries are there as soon as these are; a checkpoint is there with its hashes, or not at all."""
    ledger = open_()
    log, written = ledger.log, entries(1, 700)
    for start in range(0, 700, 70):
        ledger.commit(Block(Entries.of(written[start : start + 70])))
    assert log.hashes(0, 0, 700) == b"".join(e.leaf for e in written)  # noqa: S101
    assert log.hashes(0, 255, 3) == b"".join(e.leaf for e in written[255:258])  # noqa: S101
    assert (log.newest(), list(log.checkpoints()), log.hashes(0, 5, 0)) == (None, [], b"")  # noqa: S101
    _refused(lambda: log.hashes(0, 699, 2))
    _refused(lambda: log.hashes(1, 0, 1))
    one, two = Published(300, 1, b"note one"), Published(700, 2, b"note two")
    log.publish([(1, 0, b"a" * 32)], one)
    log.publish([(1, 1, b"b" * 32)], two)
    _refused(lambda: log.publish([(1, 2, b"c" * 32)], two._replace(number=3)))
    _refused(lambda: log.publish([], two._replace(size=701)))
    _refused(lambda: log.hashes(1, 0, 3))
    assert log.kept() == 2  # noqa: S101
    assert log.hashes(1, 0, 2) == b"a" * 32 + b"b" * 32  # noqa: S101
    assert log.newest() == two  # noqa: S101
    log.countersign(300, b"note one, seen")
    assert list(log.checkpoints()) == [one._replace(note=b"note one, seen"), two]  # noqa: S101
    assert list(open_().log.checkpoints(300)) == [two]  # noqa: S101


def check_turns_give_the_last_number(open_: Open) -> None:
    """Or nothing, where a store is for one process; they may lie within each other."""
    ledger = open_()
    ledger.commit(Block(Entries.of(entries(1, 2))))
    with ledger.turn() as last, ledger.turn() as again:
        assert last == again and last in (2, None)  # noqa: S101
        ledger.commit(Block(Entries.of(entries(3, 1))))
    assert ledger.last() == 3  # noqa: S101


def check_people_come_with_their_decisions_and_go(open_: Open) -> None:
    """A key is there with what was decided, or not at all; one that is destroyed is not found any more."""
    ledger = open_()
    people = [Subject(bytes([i]) * 16, bytes([100 - i]) * 16, b"wrapped %d" % i, i) for i in range(1, 6)]
    ledger.commit(Block(Entries.of(entries(1, 2)), subjects=people[:3]))
    _refused(lambda: ledger.commit(Block(Entries.of(entries(9, 1)), subjects=people[3:])))
    other = people[2]._replace(ref=bytes(16))
    _refused(lambda: ledger.commit(Block(Entries.of(entries(3, 1)), subjects=[people[3], other])))
    assert ledger.subjects.count() == 3  # noqa: S101
    ledger.commit(Block(subjects=people[3:]))
    assert sorted(ledger.subjects.find([p.tag for p in people[1:]] + [bytes(16)])) == people[1:]  # noqa: S101
    assert ledger.subjects.known([people[0].ref, bytes(16)]) == people[:1]  # noqa: S101
    assert (ledger.subjects.find([]), ledger.subjects.known([])) == ([], [])  # noqa: S101
    assert ledger.subjects.page(b"", 2) == people[:2:-1]  # noqa: S101
    assert ledger.subjects.page(people[3].ref) == people[2::-1]  # noqa: S101
    ledger.subjects.rewrap([people[0]._replace(wrapped=b"anew")])
    ledger.commit(Block(Entries.of(entries(3, 1)), quarantined=[held(1), held(2)]))
    ids = [q.id for q in ledger.quarantine()]
    ledger.commit(Block(Entries.of(entries(4, 1)), settled=[(ids[0], ERASED)], erased=[people[1].ref, bytes(16)]))
    ledger.scrub()
    assert ledger.subjects.known([people[0].ref, people[1].ref]) == [people[0]._replace(wrapped=b"anew")]  # noqa: S101
    assert [(q.id, q.raw) for q in ledger.quarantine(ERASED)] == [(ids[0], b"")]  # noqa: S101
    assert [q.raw for q in ledger.quarantine()] == [b"\x00raw\xff"]  # noqa: S101


def check_records_expire_and_leaves_stay(open_: Open) -> None:
    """What expired is still counted and hashed, and neither read as something else nor found."""
    ledger = open_()
    written = [*entries(1, 70), *entries(71, 5, OUTCOME), *entries(76, 5)]
    for start, stop in ((0, 70), (70, 75), (75, 80)):
        ledger.commit(Block(Entries.of(written[start:stop])))
    ledger.commit(Block(Entries.of(entries(81, 1, ACT)), expired=[(1, 69), (71, 75)]))
    gone = {e.seq for e in ledger.scan() if e.kind == EXPIRED}  # a store may keep what lies together with what must stay
    assert {*range(1, 65), *range(71, 76)} <= gone <= {*range(1, 70), *range(71, 76)}  # noqa: S101
    assert [e.leaf for e in ledger.scan()][:80] == [e.leaf for e in written]  # noqa: S101
    assert [e for part in ledger.columns(1, 81) for e in part] == list(ledger.scan())  # noqa: S101
    assert list(ledger.scan(1, (DECISION, OUTCOME))) == [e for e in written if e.seq not in gone]  # noqa: S101
    digest = sha256(written[2].content).digest()
    assert ledger.read([3, 70]) == [Entry(3, EXPIRED, DECISION, digest, written[2].leaf), written[69]]  # noqa: S101
    assert ledger.find(["event-3", "event-70", "event-76"]) == {"event-70": 70, "event-76": 76}  # noqa: S101
    assert ledger.newest(OUTCOME, ["event-71"]) == {}  # noqa: S101
    assert (ledger.last(), ledger.counts()) == (81, (81, 80 - len(gone), 1))  # noqa: S101
    assert ledger.log.hashes(0, 0, 80) == b"".join(e.leaf for e in written)  # noqa: S101
    assert list(open_().scan(60, (DECISION,))) == [e for e in written[59:] if e.kind == DECISION and e.seq not in gone]  # noqa: S101


CHECKS = (check_people_come_with_their_decisions_and_go, check_records_expire_and_leaves_stay, check_turns_give_the_last_number,
          check_entries_come_back_as_written, check_an_empty_ledger_is_empty,
          check_numbers_have_no_gap,
          check_an_event_is_decided_once_and_a_refused_block_leaves_nothing, check_the_newest_outcome_is_found,
          check_what_was_committed_survives_reopening, check_quarantine_is_paged_counted_and_settled,
          check_the_log_keeps_hashes_and_checkpoints)


def _refused(act: Callable[[], object]) -> None:
    try:
        act()
    except LedgerError:
        return
    raise AssertionError("this must be refused with a LedgerError")
