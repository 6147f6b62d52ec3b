"""Reading the ledger back as rows for the feature state: what recovery and replay have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.decision.course import ROLLOUT, Course
from flightworthy.decision.line import FeatureRows, Line
from flightworthy.decision.record import OutcomeRecord
from flightworthy.governance.ledger import ACT, DECISION, EXPIRED, HISTORY, OUTCOME, Entry, Ledger
from flightworthy.integration.features.snapshot import Snapshot, restore
from flightworthy.integration.features.state import FeatureState

CHUNK = 4096
ERASURE = "erasure"  # with a pseudonym, the name of the act in which a person was erased


@dataclass
class Stretch:
    """Some entries in order: decisions as records, and the rows that they, the past and the outcomes make. All of them were
    assigned alike: where a rollout changed, a stretch ends, and ``turn`` is how it stands after it."""

    records: list[Any] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    decided: list[bool] = field(default_factory=list)  # of the event rows: whether it is one of ``records``
    events: list[Any] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    truths: list[tuple[OutcomeRecord, Entry]] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)  # pseudonyms of people who were erased here
    turn: Course | None = None
    last: int = 0  # its last entry


def stretches(line: Line, ledger: Ledger, first: int = 1, until: int | None = None,
              briefly: bool = False) -> Iterator[Stretch]:
    """The ledger from an entry on (as far as an entry), in stretches of bounded size. ``briefly``: of the records only what a
    feature state is told, which takes half the time."""
    entries = ledger.scan(first, (DECISION, OUTCOME, HISTORY, ACT))
    if until is not None:
        entries = takewhile(lambda entry: entry.seq <= until, entries)
    while chunk := _together(entries):
        out = Stretch(last=chunk[-1].seq)
        if (chunk[-1].kind, chunk[-1].key) == (ACT, ROLLOUT):
            out.turn = Course.of(line.records.read(chunk[-1]).said)
        here: dict[int, Any] = {}
        out.erased = [e.key.partition(":")[2] for e in chunk if e.kind == ACT and e.key.startswith(f"{ERASURE}:")]
        chunk = [e for e in chunk if e.kind != ACT]
        for entry, record in zip(chunk, (line.records.told if briefly else line.records.read_all)(chunk), strict=True):
            if entry.kind != OUTCOME:
                here[entry.seq] = record.event
                out.decided.append(entry.kind == DECISION)
                if entry.kind == DECISION:
                    out.records.append(record)
                    out.entries.append(entry)
                _row(out, 0, record.event, entry.seq, line.no_label)
            else:
                event = here.get(record.decision)
                if event is None:
                    about = ledger.read([record.decision])[0]
                    if about.kind == EXPIRED:
                        continue  # its event is in the base state, and can be told nothing more
                    event = line.records.read(about).event
                out.truths.append((record, entry))
                _row(out, 1, event, record.decision, record.label)
        yield out


def _together(entries: Iterator[Entry]) -> list[Entry]:
    """The next of them, as far as an act of a rollout."""
    out: list[Entry] = []
    for entry in islice(entries, CHUNK):
        out.append(entry)
        if entry.kind == ACT and entry.key == ROLLOUT:
            break
    return out


def course_at(line: Line, ledger: Ledger, seq: int) -> Course:
    """How the rollout stood when this entry had been written."""
    course = Course()
    for entry in ledger.scan(1, (ACT,)) if seq else ():
        if entry.seq > seq:
            break
        if entry.key == ROLLOUT:
            course = Course.of(line.records.read(entry).said)
    return course


def leaf_at(ledger: Ledger, seq: int) -> bytes:
    """The leaf of an entry; empty before the first. Raises `LedgerError`."""
    return ledger.read([seq])[0].leaf if seq else b""


def begin(line: Line, base: Path | None) -> tuple[FeatureState, Snapshot]:
    """Where reading the ledger begins: an empty state, or that of all that expired since, where `base` has it."""
    state = line.state()
    saved = restore(base, state, line.pilot.recipe_digest) if base is not None else None
    if saved is None:
        return line.state(), Snapshot(0, -(2**62))
    return state, saved


def features_of(line: Line, state: FeatureState, stretch: Stretch) -> Any:
    """Advance a state by a stretch; the frame of its decisions."""
    frame = line.features(state, _rows_of(stretch))
    return frame if all(stretch.decided) else frame[np.array(stretch.decided)]


def advance_from_ledger(line: Line, state: FeatureState, ledger: Ledger, first: int,
                        until: int | None = None, between: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """Apply all entries from ``first`` (as far as ``until``); their number, and the newest event time among them. ``between`` is
    called before each stretch."""
    count, watermark = 0, -(2**62)
    erased: list[str] = []
    for stretch in stretches(line, ledger, first, until, briefly=True):
        between()
        told = [event for event, kind in zip(stretch.events, stretch.kinds, strict=True) if kind == 0]
        if told:
            watermark = max(watermark, int(line.columns.times(told).max()))
        state.reach(stretch.last, watermark)
        line.aggregates(state, _rows_of(stretch))
        erased += stretch.erased
        count += len(stretch.kinds)
    if erased and line.veil is not None:
        line.veil.held().drop(erased)
        state.forget(line.pilot.subject, erased)
    return count, watermark


def _rows_of(stretch: Stretch) -> FeatureRows:
    return FeatureRows(np.array(stretch.kinds, np.int64), stretch.events, np.array(stretch.seqs, np.int64),
                       np.array(stretch.labels, np.float64))


def _row(stretch: Stretch, kind: int, event: Any, seq: int, label: float) -> None:
    stretch.kinds.append(kind)
    stretch.events.append(event)
    stretch.seqs.append(seq)
    stretch.labels.append(label)
