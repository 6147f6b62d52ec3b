"""What people may ask for: to agree or not, to be forgotten, to see what is kept about them. All of it is written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from flightworthy.decision.consent import consent_of
from flightworthy.decision.engine import Engine
from flightworthy.decision.line import Line
from flightworthy.decision.record import ActRecord
from flightworthy.decision.recovery import ERASURE, begin
from flightworthy.governance.ledger import ACT, DECISION, ERASED, HISTORY, OUTCOME, Ledger, Quarantined
from flightworthy.governance.privacy.store import Subject
from flightworthy.governance.privacy.vault import Vault, ref_of, word_of
from flightworthy.ground.errors import DataError, LedgerError
from flightworthy.integration.features import snapshot
from flightworthy.manifest.pilot import Pilot

HOLD = "hold"
ACTS = ("consent", "withdraw", "hold", "release", "erase")
_AT_ONCE = 1000


@dataclass
class Erasure:
    """What was done. ``unknown``: nothing is kept under these names; ``on_hold``: a legal hold keeps them."""

    erased: int = 0
    unknown: list[str] = field(default_factory=list)
    on_hold: list[str] = field(default_factory=list)
    quarantine: int = 0
    entries: list[int] = field(default_factory=list)  # of the acts
    left: str = ""  # why old pages with destroyed keys may still lie on the disk; empty when none do


def _vault(engine: Engine) -> Vault:
    if engine.vault is None:
        raise DataError("this pilot's manifest names no people", where="privacy", next_step="add privacy: {subject: ENTITY}")
    return engine.vault


def consent(engine: Engine, name: str, given: bool, who: str, why: str) -> ActRecord:
    """Note that a person gives or withdraws consent for the pilot's purpose. No batch may be under way."""
    vault = _vault(engine)
    people, new = vault.people([name], engine.clock.now())
    spec = engine.pilot.manifest.privacy
    try:
        act = engine.acts(who, [(consent_of(spec.purpose if spec else "", people[name].word),
                                 {"consent": "given" if given else "withdrawn", "why": why})], subjects=new)[0]
    except BaseException:
        vault.forget()  # whoever is new was not committed
        raise
    vault.settled(new)
    if engine.admission.consents is not None:
        engine.admission.consents.forget()
    return act


def hold(engine: Engine, name: str, on: bool, who: str, why: str) -> ActRecord:
    """A legal hold: while it is on, a person's records neither expire nor are erased. Raises `DataError` for who is unknown."""
    row = _vault(engine).find([name]).get(name)
    if row is None:
        raise DataError("nothing is kept under this name", found=name)
    return engine.act(hold_of(word_of(row.ref)), who, {"hold": "on" if on else "off", "why": why})


def hold_of(word: str) -> str:
    """The name of the act that puts a person's records on hold."""
    return f"{HOLD}:{word}"


def held(line: Line, ledger: Ledger, words: Sequence[str]) -> set[str]:
    """Those of some people, by pseudonym, whose records are on hold."""
    newest = ledger.newest(ACT, [hold_of(word) for word in words])
    return {entry.key.partition(":")[2] for entry in ledger.read(list(newest.values()))
            if line.records.read(entry).said["hold"] == "on"}


def erase(engine: Engine, names: Sequence[str], who: str, why: str) -> Erasure:
    """Destroy the keys of people: what is sealed about them can never be read again, by anyone, in any copy made after the last
    change of the wrapping key. Their features are dropped, records in quarantine that name them are emptied. No batch may be
    under way. Raises `LedgerError`; then nothing was destroyed."""
    vault, done = _vault(engine), Erasure()
    rows = vault.find(names)
    stay = held(engine.line, engine.ledger, [word_of(row.ref) for row in rows.values()])
    for name in dict.fromkeys(names):
        if name not in rows:
            done.unknown.append(name)
        elif word_of(rows[name].ref) in stay:
            done.on_hold.append(name)
    going = {name: row for name, row in rows.items() if word_of(row.ref) not in stay}
    words = [word_of(row.ref) for row in going.values()]
    emptied = [q.id for q in _naming(engine, [*going, *done.unknown])]
    if going or emptied:
        acts = engine.acts(who, [(f"{ERASURE}:{word}", {"why": why}) for word in words] or [(ERASURE, {"why": why})],
                           settled=[(i, ERASED) for i in emptied], erased=[row.ref for row in going.values()])
        done.entries = [act.seq for act in acts]
    engine.state.forget(engine.pilot.subject, words)
    engine.save()
    _forget_expired(engine, words)
    vault.forget()
    done.erased, done.quarantine, done.left = len(going), len(emptied), scrubbed(engine)
    return done


def ask(engine: Engine, act: str, names: Sequence[str], who: str, why: str) -> dict[str, Any]:
    """One of `ACTS` for some people: how many it was done for, and who is unknown or on hold."""
    if act not in ACTS:
        raise DataError("nobody can be asked that", found=act, expected=", ".join(ACTS))
    if act == "erase":
        return asdict(erase(engine, names, who, why))
    unknown, entries = [], []
    for name in dict.fromkeys(names):
        if act in ("consent", "withdraw"):
            entries.append(consent(engine, name, act == "consent", who, why).seq)
        elif name in _vault(engine).find([name]):
            entries.append(hold(engine, name, act == "hold", who, why).seq)
        else:
            unknown.append(name)
    return {"done": len(entries), "unknown": unknown, "entries": entries}


def scrubbed(engine: Engine) -> str:
    """Empty once nothing of what was deleted is left on the disk; else why not: it is deleted all the same."""
    try:
        engine.ledger.scrub()
    except LedgerError as error:
        return str(error)
    return ""


def _forget_expired(engine: Engine, words: list[str]) -> None:
    """The state of what expired remembers them too."""
    state, saved = begin(engine.line, engine.base)
    if engine.base is not None and saved.seq:
        state.forget(engine.pilot.subject, words)
        snapshot.save(engine.base, state, saved, engine.pilot.recipe_digest)


def _naming(engine: Engine, names: Sequence[str]) -> Iterator[Quarantined]:
    """Quarantined records in which one of these names stands: in a value where the record is JSON, anywhere where it is not."""
    wanted, vault = {name for name in names if name.strip()}, _vault(engine)  # nothing at all stands everywhere
    if not wanted:
        return
    words = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(wanted)))
    for status in ("held", "admitted", "discarded"):
        after = 0
        while page := engine.ledger.quarantine(status, after, _AT_ONCE):
            after = page[-1].id
            for q in page:
                raw = vault.cover.off(q.raw).decode(errors="replace")
                if any(map(words.search, _texts(raw))):
                    yield q


def _texts(raw: str) -> Iterator[str]:
    """All values of a JSON text, as texts; the text itself where it is none."""
    try:
        todo: list[Any] = [json.loads(raw)]
    except (ValueError, RecursionError):
        todo = [raw]
    while todo:
        value = todo.pop()
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, str | int):
            yield str(value)


def unaccounted(pilot: Pilot, ledger: Ledger) -> list[str]:
    """What does not fit between records, keys and acts: a key that is gone without an erasure, one that is there in spite of it.
    Needs no key. Of each kind the first hundred."""
    seen: dict[str, int] = {}
    erased: dict[str, int] = {}
    event = msgspec.defstruct("Event", [(pilot.subject, str)])
    read = msgspec.msgpack.Decoder(msgspec.defstruct("Record", [("event", event), ("sealed", bytes, b"")])).decode
    for entry in ledger.scan(1, (DECISION, HISTORY, ACT)):
        if entry.kind == ACT:
            if entry.key.startswith(f"{ERASURE}:"):
                erased[entry.key.partition(":")[2]] = entry.seq
            continue
        record: Any = read(entry.content)
        if record.sealed:
            seen.setdefault(getattr(record.event, pilot.subject), entry.seq)
    there = {word_of(row.ref) for row in _all_known(ledger, [*seen, *erased])}
    gone = [f"the key of {word} (entry {seq}) is gone, and no act says that it was destroyed"
            for word, seq in seen.items() if word not in there and word not in erased]
    kept = [f"the key of {word} is there, though entry {seq} says that it was destroyed"
            for word, seq in erased.items() if word in there]
    return gone[:100] + kept[:100]


def _all_known(ledger: Ledger, words: list[str]) -> Iterator[Subject]:
    for i in range(0, len(words), _AT_ONCE):
        yield from ledger.subjects.known([ref_of(word) for word in words[i : i + _AT_ONCE]])


def about(line: Line, ledger: Ledger, name: str) -> Iterator[dict[str, Any]]:
    """Everything the ledger keeps about a person, opened, in order: events and decisions, their outcomes, consents, holds. Raises
    `DataError` when nothing is."""
    veil = line.veil
    if veil is None:
        raise DataError("this pilot's manifest names no people", where="privacy")
    row = veil.held().find([name]).get(name)
    if row is None:
        raise DataError("nothing is kept under this name", found=name, next_step="see that it is written as in the events")
    word, mine = word_of(row.ref), set[int]()
    for entry in ledger.scan(1, (DECISION, HISTORY, OUTCOME, ACT)):
        if entry.kind == ACT:
            told = entry.key.endswith(f":{word}")
        elif entry.kind == OUTCOME:
            told = line.records.read(entry).decision in mine
        else:
            told = getattr(line.records.stored(entry).event, line.pilot.subject) == word
            mine |= {entry.seq} if told else set()
        if told:
            record = msgspec.to_builtins(line.records.read(entry), enc_hook=str, builtin_types=(bytes,))
            yield {name: value.hex() if isinstance(value, bytes) else value for name, value in record.items()}
