"""Checks a whole ledger against its log: every entry, every hash that is kept, every checkpoint, and the index.

What is found is said in words; nothing found means: these are the entries that were published, all of them, in this order, and
the index leads to them. That none is missing at the end, only someone else can say: a witness, or whoever kept a checkpoint.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from operator import itemgetter
from typing import NamedTuple

import msgspec

from flightworthy.governance.ledger import ACT, EXPIRED, Entries, Ledger
from flightworthy.governance.log import merkle
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.index import EVENTS, EventIndex, NewestIndex
from flightworthy.governance.log.merkle import TILE, Growth
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.ground.collector import rare_collections
from flightworthy.ground.errors import FlightworthyError, LedgerError, ProofError

_ENOUGH = 100  # findings after which the rest is not listed
EXPIRY = "expiry"  # the act that lets records go


@dataclass
class Audit:
    """What was looked at, and what is wrong."""

    first: int = 1
    entries: int = 0
    checkpoints: int = 0
    witnessed: int = 0  # checkpoints that the quorum signed
    size: int = 0  # of the newest checkpoint
    findings: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def found(self, what: str) -> None:
        """Note a finding."""
        if len(self.findings) < _ENOUGH:
            self.findings.append(what)


def audit(ledger: Ledger, policy: Policy, first: int = 1, kept: Sequence[bytes] = (),
          watch: Callable[[int], None] = lambda done: None) -> Audit:
    """Check a ledger from entry ``first`` on; of what is before, the hashes the tree keeps are believed. ``kept``: signed
    checkpoints of this log that someone put aside, which it must continue. ``watch`` hears how many entries are done."""
    result = Audit(first)
    try:
        with rare_collections():
            _Walk(ledger, policy, result, kept).go(watch)
    except FlightworthyError as error:  # what cannot be read is a finding, and what lies behind it cannot be judged
        result.found(str(error))
    return result


class _Target(NamedTuple):
    """A checkpoint to meet on the way; ``number`` None: not of the ledger, but put aside by someone."""

    size: int
    what: str
    note: bytes
    number: int | None = None


class _Walk:
    """Once along the ledger, with the checkpoints beside it."""

    def __init__(self, ledger: Ledger, policy: Policy, result: Audit, kept: Sequence[bytes]) -> None:
        self.ledger, self.policy, self.result = ledger, policy, result
        self.nodes = TiledNodes(ledger.log.hashes)
        self.growth = Growth(result.first - 1, self.nodes)
        newest = ledger.log.newest()
        self.published = newest.size if newest else 0  # up to here the tree is kept
        self.last = ledger.last()  # a ledger in use grows meanwhile
        self.origin = ""
        self.number = 0 if result.first == 1 else None  # of the checkpoint before
        self.events = self.hashes = 0
        self.index, self.newest = EventIndex(ledger, result.first, self.last), NewestIndex(ledger)
        self.expired: list[tuple[int, int]] = []  # first and last, of entries whose records are gone
        self.allowed: list[tuple[int, int]] = []  # and of those that acts let go
        stored = (_Target(p.size, f"the checkpoint of {p.size}", p.note, p.number)
                  for p in takewhile(lambda p: p.size <= self.published, ledger.log.checkpoints(result.first - 1)))
        self.targets = heapq.merge(stored, sorted(self._kept(kept)), key=itemgetter(0))
        self.target = next(self.targets, None)

    def go(self, watch: Callable[[int], None]) -> None:
        """All of it."""
        result = self.result
        self._meet()
        for part in self.ledger.columns(result.first, self.last):
            self._follow(part)
            self._indexed(part)
            watch(result.entries)
        self._report(self.index.check())
        if self.growth.size != self.last:
            result.found(f"the ledger says its last entry is {self.last}, found were entries up to {self.growth.size}")
        while self.target is not None:
            result.found(f"{self.target.what} speaks of {self.target.size} entries, the ledger ends at {self.last}")
            self.target = next(self.targets, None)
        self._report(self.newest.end(self.last))
        self._gone()
        if self.last and not self.published:
            result.found(f"nothing of {self.last} entries is published: there is no checkpoint")
        self._quorum()
        counts = self.ledger.counts()
        hashes, newest = self.ledger.log.kept(), self.ledger.log.newest()
        if result.first == 1 and self.ledger.last() == self.last and (newest.size if newest else 0) == self.published:
            self._count("entries", self.last, counts.entries)
            self._count("events", self.events, counts.events)
            self._count("newest entries", self.newest.met, counts.newest)
            self._count("hashes of the tree", self.hashes, hashes)

    def _quorum(self) -> None:
        """Witnesses must have seen the newest checkpoint; with it they have seen all that it continues."""
        for newest in islice(self.ledger.log.checkpoints(self.published - 1), 1 if self.published else 0):
            try:
                self.policy.check(newest.note)
            except ProofError as error:
                self.result.found(f"the checkpoint of {newest.size}, the newest: {error}")

    def _gone(self) -> None:
        """A record may only be gone where an act of the ledger says that it expired."""
        for first, last in self.expired:
            seq = first
            while covers := [b for a, b in self.allowed if a <= seq <= b]:
                seq = max(covers) + 1
            if seq <= last:
                self.result.found(f"the record of entry {seq} is gone, and no act says that it expired")

    def _expired(self, part: Entries) -> None:
        for entry in part:
            if entry.kind == EXPIRED:
                if self.expired and self.expired[-1][1] == entry.seq - 1:
                    self.expired[-1] = (self.expired[-1][0], entry.seq)
                else:
                    self.expired.append((entry.seq, entry.seq))
            elif entry.kind == ACT and entry.key == EXPIRY:
                said = msgspec.msgpack.decode(entry.content)["said"]["entries"]
                self.allowed += [(int(a), int(b)) for a, _, b in (pair.partition("-") for pair in said.split())]

    def _count(self, what: str, expected: int, found: int) -> None:
        if found != expected:
            self.result.found(f"{found} {what} are kept, there should be {expected}")

    def _follow(self, part: Entries) -> None:
        """The tree grows by these entries, and stops at each checkpoint."""
        first, leaves, done = self.growth.size + 1, part.leaves, 0
        if part.first != first:
            raise LedgerError("entries are missing or doubled", found=f"{part.first} to {part.first + len(part) - 1}",
                              expected=f"{first} to {first + len(part) - 1}, each once")
        while done < len(leaves):
            step = len(leaves) - done if self.target is None else min(len(leaves) - done, self.target.size - self.growth.size)
            for level, place, found in self.growth.extend(leaves[done : done + step]):
                self._compare_kept(level, place, found)
            done += step
            self._meet()
        self.result.entries += len(part)

    def _compare_kept(self, level: int, place: int, found: bytes) -> None:
        if (place + 1) << TILE * level > self.published:
            return
        self.hashes += 1
        if self.ledger.log.hashes(level, place, 1) != found:
            self.result.found(f"the tree keeps another hash than its entries have: level {level}, place {place}")

    def _meet(self) -> None:
        """Checkpoints of this size must have this root."""
        while self.target is not None and self.target.size <= self.growth.size:
            said = self._read(self.target.note, self.target.what, self.target.number)
            self._counted(self.target)
            if said is not None and said.size != self.target.size:
                self.result.found(f"{self.target.what} speaks of {said.size} entries")
            elif said is not None and said.root != self._root(said.size):
                self.result.found(f"{self.target.what} has a root that is not that of its entries")
            self.result.size = max(self.result.size, self.target.size if self.target.number is not None else 0)
            self.target = next(self.targets, None)

    def _root(self, size: int) -> bytes:
        """The root of the first entries; where they lie before what is looked at, by the hashes the tree keeps."""
        return self.growth.root() if size == self.growth.size else merkle.root(self.nodes, size)

    def _counted(self, target: _Target) -> None:
        if target.number is None:
            return
        if self.number is not None and target.number != self.number + 1:
            self.result.found(f"{target.what} is number {target.number}, the one before it is number {self.number}")
        self.number = target.number

    def _kept(self, kept: Sequence[bytes]) -> Iterator[_Target]:
        for content in kept:
            said = self._read(content, "a checkpoint that was put aside")
            if said is not None:
                yield _Target(said.size, f"the checkpoint of {said.size} that was put aside", content)

    def _read(self, content: bytes, what: str, number: int | None = None) -> Checkpoint | None:
        """A signed checkpoint of this log; None when it is none, which is a finding."""
        try:
            said, names = self.policy.read(content)
        except ProofError as error:
            self.result.found(f"{what}: {error}")
            return None
        self.origin = self.origin or said.origin
        if said.origin != self.origin:
            self.result.found(f"{what} is of another log: {said.origin}")
            return None
        if number is not None:
            self.result.checkpoints += 1
            self.result.witnessed += bool(names) and self.policy.enough(names)
        return said

    def _indexed(self, part: Entries) -> None:
        """The index must lead to exactly these entries."""
        if not self.index.fits(part):
            self._report(self.index.check())
            self.index = EventIndex(self.ledger, part.first, self.last)
        kinds = set(part.kinds)
        self.events += self.index.expect(part, kinds)
        if not kinds.isdisjoint((EXPIRED, ACT)):
            self._expired(part)
        for kind in kinds - EVENTS - {EXPIRED}:
            self._report(self.newest.check(kind, [entry for entry in part if entry.kind == kind]))

    def _report(self, wrong: Iterable[str]) -> None:
        for what in wrong:
            self.result.found(what)
