"""Records that were kept as long as the manifest says: their contents go, their leaves stay, so that every proof still holds, and
that they expired is provable itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flightworthy.decision.engine import Engine
from flightworthy.decision.people import held, scrubbed
from flightworthy.decision.recovery import ERASURE, advance_from_ledger, begin, leaf_at
from flightworthy.governance.ledger import ACT, DECISION, HISTORY, OUTCOME
from flightworthy.governance.log.audit import EXPIRY
from flightworthy.ground.errors import DataError
from flightworthy.integration.features import snapshot

_AT_ONCE = 200_000  # entries expired by one act


@dataclass
class Expiry:
    """What went: ``entries`` that are too old and on nobody's hold. Some of them may stay a while, where they lie together with
    what must stay."""

    entries: int = 0
    on_hold: int = 0
    told_since: int = 0  # decisions with younger outcomes
    acts: int = 0
    left: str = ""  # why old pages may still lie on the disk


def expire(engine: Engine, who: str) -> Expiry:
    """Let everything go that is older than the manifest's retention. What it told the features is kept in a state of its own.
    No batch may be under way. Raises `DataError` where the manifest has no retention."""
    spec = engine.pilot.manifest.privacy
    if spec is None or spec.retention is None:
        raise DataError("this pilot's manifest says nothing of retention", where="privacy.retention")
    done, until = Expiry(), _until(engine, engine.clock.now() - spec.retention)
    _keep_state(engine, until)
    ranges: list[tuple[int, int]] = []
    for first, last in _ranges(engine, until, done):
        ranges.append((first, last))
        if sum(b - a + 1 for a, b in ranges) >= _AT_ONCE:
            _go(engine, who, ranges, done)
            ranges = []
    if ranges:
        _go(engine, who, ranges, done)
    done.left = scrubbed(engine)
    return done


def _until(engine: Engine, before: int) -> int:
    """The last entry that is too old, 0 where none is: entries lie in order of arrival."""
    last = 0
    for entry in engine.ledger.scan(1, (DECISION, HISTORY, OUTCOME)):
        if engine.line.records.stored(entry).arrived >= before:
            break
        last = entry.seq
    return last


def _keep_state(engine: Engine, last: int) -> None:
    """Keep what features remember of all that is too old, so that what is younger is still rebuilt, and replays, bit for bit."""
    state, saved = begin(engine.line, engine.base)
    if engine.base is None or last <= saved.seq:
        return
    _, watermark = advance_from_ledger(engine.line, state, engine.ledger, saved.seq + 1, last)
    erased = [e.key.partition(":")[2] for e in engine.ledger.scan(1, (ACT,)) if e.key.startswith(f"{ERASURE}:")]
    state.forget(engine.pilot.subject, erased)  # also of those who were erased since
    stands = snapshot.Snapshot(last, max(watermark, saved.watermark), leaf_at(engine.ledger, last))
    snapshot.save(engine.base, state, stands, engine.pilot.recipe_digest)


def _go(engine: Engine, who: str, ranges: list[tuple[int, int]], done: Expiry) -> None:
    said = " ".join(f"{first}-{last}" for first, last in ranges)
    engine.acts(who, [(EXPIRY, {"entries": said, "why": "retention"})], expired=ranges)
    done.acts += 1


def _ranges(engine: Engine, until: int, done: Expiry) -> Iterator[tuple[int, int]]:
    """Entries that follow one another and may go. A decision of which something was told since stays with what was told: features
    learn it from both."""
    told = {engine.line.records.read(entry).decision for entry in engine.ledger.scan(until + 1, (OUTCOME,))}
    start = last = 0
    known: dict[str, bool] = {}
    kept = set[int]()  # decisions that are on hold; their outcomes are too
    line, subject = engine.line, engine.pilot.subject
    for entry in engine.ledger.scan(1, (DECISION, HISTORY, OUTCOME)):
        if entry.seq > until:
            break
        record = line.records.stored(entry)
        word = getattr(getattr(record, "event", None), subject, "")
        if word and word not in known:
            known[word] = word in held(line, engine.ledger, [word])
        if (word and known[word]) or getattr(record, "decision", 0) in kept:
            kept.add(entry.seq)
            done.on_hold += 1
            continue
        if entry.seq in told:
            done.told_since += 1
            continue
        done.entries += 1
        if start and entry.seq == last + 1:
            last = entry.seq
        else:
            if start:
                yield start, last
            start = last = entry.seq
    if start:
        yield start, last
