"""Moves a ledger from one store to another: every entry, hash and checkpoint as it is, so that every proof still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from flightworthy.governance.ledger import Block, Entries, Entry, Ledger, Quarantined
from flightworthy.governance.log import note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.merkle import Growth
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.ground.errors import LedgerError, ProofError

_AT_ONCE = 4096
_STATES = ("held", "admitted", "discarded", "erased")


def move(source: Ledger, target: Ledger, watch: Callable[[int], None] = lambda done: None) -> int:
    """Copy everything; returns the number of entries. Goes on where it was broken off. The source must rest meanwhile, and stays
    as it is. Raises `LedgerError` when the target holds another ledger, `ProofError` when an entry of the source does not fit
    its checkpoints: then nothing wrong is carried on."""
    _same_start(source, target)
    entries = source.scan(target.last() + 1)
    while part := list(islice(entries, _AT_ONCE)):
        target.commit(Block(Entries.of(part)))
        watch(part[-1].seq)
    _checkpoints(source, target)
    _people(source, target)
    if not target.quarantine_counts():
        _quarantine(source, target)
    target.commit(Block(progress=source.positions()))
    if (source.last(), source.counts()) != (target.last(), target.counts()):
        raise LedgerError("the ledger grew while it was moved", found=source.last(), expected=f"{target.last()}",
                          next_step="stop what writes to it, and move again: only what is new is copied", retryable=True)
    return target.last()


def _same_start(source: Ledger, target: Ledger) -> None:
    def ends(ledger: Ledger, size: int) -> list[Entry]:
        return ledger.read([1, size]) if size else []

    size = target.last()
    if size > source.last() or ends(source, size) != ends(target, size):
        raise LedgerError("the target holds another ledger", found=f"{size} entries", expected="none, or the first of these",
                          next_step="choose an empty one")


def _checkpoints(source: Ledger, target: Ledger) -> None:
    newest = target.log.newest()
    growth = Growth(newest.size, TiledNodes(target.log.hashes)) if newest else Growth()
    for published in source.log.checkpoints(growth.size):
        complete = []
        while growth.size < published.size:
            leaves = target.log.hashes(0, growth.size, min(published.size - growth.size, _AT_ONCE))
            complete += growth.extend([leaves[i : i + 32] for i in range(0, len(leaves), 32)])
        if Checkpoint.parse(note.parse(published.note).text).root != growth.root():
            raise ProofError("a checkpoint does not fit the entries: it is not moved", where=f"checkpoint of {published.size}",
                             next_step="run: flightworthy audit verify")
        target.log.publish(complete, published)


def _people(source: Ledger, target: Ledger) -> None:
    after = b""
    while page := source.subjects.page(after, _AT_ONCE):
        there = {row.ref: row for row in target.subjects.known([row.ref for row in page])}
        target.commit(Block(subjects=[row for row in page if row.ref not in there]))
        target.subjects.rewrap([row for row in page if row.ref in there and row != there[row.ref]])
        after = page[-1].ref
    after = b""
    while page := target.subjects.page(after, _AT_ONCE):
        here = {row.ref for row in source.subjects.known([row.ref for row in page])}
        target.commit(Block(erased=[row.ref for row in page if row.ref not in here]))  # since an earlier try
        after = page[-1].ref


def _quarantine(source: Ledger, target: Ledger) -> None:
    everything = sorted((q for status in _STATES for q in _held(source, status)), key=lambda q: q.id)
    for i in range(0, len(everything), _AT_ONCE):
        target.commit(Block(quarantined=everything[i : i + _AT_ONCE]))


def _held(source: Ledger, status: str) -> Iterator[Quarantined]:
    after = 0
    while part := source.quarantine(status, after, _AT_ONCE):
        yield from part
        after = part[-1].id
