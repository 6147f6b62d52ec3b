"""A partition over keyed state. The state is a dictionary here, with what Flink promises of it: all tables of one instant, or none."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.rooms import load_models
from flightworthy.decision.work import EVENT, OUTCOME, Arrivals
from flightworthy.governance import ledger_checks as checks
from flightworthy.governance.ledger import DECISION, HISTORY, Block, Entry, Quarantined
from flightworthy.ground.clock import ManualClock
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.features.shared import Mark
from flightworthy.operation.flink.keyed import KeyedLedger, KeyedStore, Tables
from flightworthy.operation.flink.part import ALL, DEAD, DECIDED, ENTRY, Course, Part
from tests.conftest import Trained

NOW = 1_800_000_000_000_000


class Map(dict[Any, bytes]):
    """A table."""

    def put(self, key: Any, value: bytes) -> None:
        self[key] = value

    def put_all(self, map: dict[Any, bytes]) -> None:
        self.update(map)

    def remove(self, key: Any) -> None:
        self.pop(key, None)


def tables() -> Tables:
    """Empty ones."""
    return Tables(Map(), Map(), Map(), Map())


@pytest.fixture
def course(starter_trained: Trained) -> Course:
    return Course(starter_trained.pilot, load_models(starter_trained.pilot, starter_trained.var / "models"), ManualClock(NOW), 1,
                  ("e", "o"), entries=True)


Sent = tuple[int, int, int, bytes]  # kind, offset, stamp, record


def traffic(trained: Trained, count: int) -> list[Sent]:
    """Events a second apart by the broker, whose time sometimes goes back; some twice, some broken; outcomes a while after their
    events: in the order in which they are to be decided."""
    lines = trained.lines("history", count)
    events = [(EVENT, i, 1_000_000 * (i - 12 if i % 10 == 9 else i), line) for i, line in enumerate(lines)]
    events.insert(30, (EVENT, 1000, 29_500_000, events[7][3]))
    events.insert(40, (EVENT, 1001, 38_000_000, b"{"))
    known = {msgspec.json.decode(line)["invoice"]: i for i, line in enumerate(lines)}
    told = [(OUTCOME, i, 1_000_000 * (known[name] + 3), line) for i, line in enumerate(trained.lines("history_outcomes"))
            if (name := msgspec.json.decode(line)["invoice"]) in known]
    told.sort(key=lambda one: one[2])
    moved = [(at, one) for topic in (events, told) for at, one in
             zip(accumulate((one[2] for one in topic), max), topic, strict=True)]
    return [one for _, one in sorted(moved, key=lambda row: row[0])]


def bits(entry: Entry, engine: Engine) -> Any:
    record = engine.line.records.read(entry)
    if entry.kind == HISTORY:
        return entry.kind, entry.key
    if entry.kind != DECISION:
        return entry.kind, entry.key, record.label, record.known_at
    return entry.kind, entry.key, msgspec.msgpack.encode([record.features, record.outputs]), record.action, record.arm, record.reasons


def expected(trained: Trained, folder: Path, sent: list[Sent]) -> list[Any]:
    """What an engine with its own ledger and state makes of the same, in the same order."""
    shutil.copytree(trained.var, folder / "var")
    engine = Engine.open(trained.pilot, folder / "var", ManualClock(NOW))
    engine.process(Arrivals([raw for *_, raw in sent], NOW, [kind for kind, *_ in sent], "e"))
    out = [bits(entry, engine) for entry in engine.ledger.scan()]
    engine.close()
    return out


def leaves(part: Part, complete: int) -> Iterator[tuple[int, int, Any]]:
    """What leaves: topic, number of the entry, content."""
    for what, message in part.run(complete):
        said = {name: value.decode() for name, value in message.headers}
        if what == ENTRY:
            yield what, int(said["seq"]), bits(Entry(int(said["seq"]), said["kind"], said["key"], message.value, b""), part.engine)
        else:
            yield what, int(said.get("offset", 0)), said.get("reason", message.value)


def test_it_decides_as_an_engine_with_a_ledger_does(course: Course, starter_trained: Trained, tmp_path: Path) -> None:
    sent = traffic(starter_trained, 120)
    part = Part(course, 0, tables())
    for one in sent:
        part.add(*one)
    left = list(leaves(part, ALL))
    assert [content for what, _, content in left if what == ENTRY] == expected(starter_trained, tmp_path, sent)
    assert [(at, why) for what, at, why in left if what == DEAD] == [(1001, "malformed")]
    assert sum(what == DECIDED for what, *_ in left) == 120


@pytest.mark.parametrize("seed", range(8))
def test_a_task_that_died_goes_on_from_its_checkpoint(seed: int, course: Course, starter_trained: Trained, tmp_path: Path) -> None:
    sent, chance = traffic(starter_trained, 120), random.Random(seed)
    # Of each topic the records come in order, of both in any: as far as the watermark says, all are here.
    topics = [[one for one in sent if one[0] == kind] for kind in (EVENT, OUTCOME)]
    state, said = tables(), dict[int, Any]()
    part, at = Part(course, 0, state), [0, 0]
    kept, kept_at = copy.deepcopy(state), [0, 0]
    deaths = 0
    while at != [len(topics[0]), len(topics[1])]:
        kind = chance.choice([k for k in (0, 1) if at[k] < len(topics[k])])
        for _ in range(min(chance.randint(1, 9), len(topics[kind]) - at[kind])):
            part.add(*topics[kind][at[kind]])
            at[kind] += 1
        newest = [max((stamp for _, _, stamp, _ in topic[:n]), default=-1) for topic, n in zip(topics, at, strict=True)]
        done = min(ALL if n == len(topic) else newest[k] - 1 for k, (topic, n) in enumerate(zip(topics, at, strict=True)))
        if chance.random() < 0.6:
            for what, seq, content in leaves(part, done):
                if what == ENTRY:
                    assert said.setdefault(seq, content) == content  # said again after a death, and no other way
        if chance.random() < 0.3:
            kept, kept_at = copy.deepcopy(state), list(at)
        if chance.random() < 0.15:
            state, at, deaths = copy.deepcopy(kept), list(kept_at), deaths + 1
            part = Part(course, 0, state)
    said.update((seq, content) for what, seq, content in leaves(part, ALL) if what == ENTRY)
    assert deaths
    assert [said[seq] for seq in sorted(said)] == expected(starter_trained, tmp_path, sent)
    assert list(state.waiting.items()) == []


def test_an_outcome_that_came_too_early_is_taken_in(course: Course, starter_trained: Trained) -> None:
    sent = traffic(starter_trained, 60)
    early = next(one for one in sent if one[0] == OUTCOME)
    state = tables()
    part = Part(course, 0, state)
    part.add(OUTCOME, 0, 0, early[3])
    assert [why for *_, why in leaves(part, ALL)] == ["no_decision"]
    part = Part(course, 0, copy.deepcopy(state))  # it waits in the state
    for one in sent:
        if one[0] == EVENT:
            part.add(*one)
    assert [content[0] for what, _, content in leaves(part, ALL) if what == ENTRY][-1] == "outcome"
    assert list(leaves(part, ALL)) == []


def test_what_the_broker_had_before_is_remembered(course: Course, starter_trained: Trained) -> None:
    part = Part(replace(course, history_until=30_000_000), 0, tables())
    for one in traffic(starter_trained, 60)[:30]:
        if one[0] == EVENT:
            part.add(*one)
    assert {content[0] for what, _, content in leaves(part, ALL) if what == ENTRY} == {"history"}


@pytest.mark.parametrize("check", [checks.check_numbers_have_no_gap, checks.check_the_newest_outcome_is_found])
def test_it_keeps_what_a_ledger_must(check: Any) -> None:
    state = tables()
    check(lambda: KeyedLedger(state, "e/0"))


def test_nothing_is_found_in_nothing() -> None:
    ledger = KeyedLedger(tables(), "e/0")
    assert (ledger.last(), list(ledger.scan()), ledger.find(["a"]), ledger.quarantine()) == (0, [], {}, [])


def test_an_event_is_decided_once() -> None:
    ledger = KeyedLedger(tables(), "e/0")
    ledger.commit(Block(checks.Entries.of(checks.entries(1, 3))))
    again = checks.entries(4, 1)[0]._replace(key="event-2")
    with pytest.raises(LedgerError, match="decided once"):
        ledger.commit(Block(checks.Entries.of([again])))
    with pytest.raises(LedgerError, match="no such entry"):
        ledger.read([9])
    assert ledger.read([2])[0].key == "event-2"
    assert ledger.last() == 3


def test_what_belongs_to_a_ledger_on_disk_is_refused() -> None:
    state = tables()
    ledger, store = KeyedLedger(state, "e/0"), KeyedStore(state)
    for ask in (lambda: ledger.log, lambda: ledger.subjects, ledger.counts, ledger.positions, ledger.scrub,
                ledger.quarantine_counts, lambda: ledger.events(1, 2), lambda: ledger.columns(1, 2),
                lambda: ledger.commit(Block(erased=[b"x"])), lambda: store.forget(b"x", True)):
        with pytest.raises(LedgerError):
            ask()
    store.swap("", Mark(0, 0), Mark(5, 0), [])
    with pytest.raises(LedgerError, match="ahead"):
        store.undo("", 4)
    held = Quarantined("e/0", 3, 1, "late", "at", "too late", b"raw")
    ledger.commit(Block(quarantined=[held]))
    assert ledger.told() == ([], [held])
    assert ledger.quarantine() == ledger.quarantine("discarded") == []  # only what is tried again stays
