"""Entries for other systems: as they are stored, with what proves them. What is private stays sealed, so that nothing has to be
called back when a person is erased."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple, Protocol

import msgspec

from flightworthy.governance.ledger import EXPIRED, Entry, Ledger
from flightworthy.governance.log import note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.leaf import leaf
from flightworthy.governance.log.merkle import Growth, leaf_hash
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.ground.errors import ProofError

AT_ONCE = 500  # entries that travel together


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """An entry. ``stored`` is its record as the leaf commits to it, in base64; ``record`` the same for whoever does not read
    MessagePack, bytes in hexadecimal, NaN as null. Of one that expired: the digest of what was stored, and its kind."""

    log: str
    seq: int
    kind: str
    id: str
    time: int  # microseconds UTC, when it arrived; 0 of one that expired
    leaf: str
    stored: str
    record: Any

    @property
    def hash(self) -> bytes:
        """The leaf hash that follows from what is here."""
        stored = base64.b64decode(self.stored)
        if self.kind == EXPIRED:
            return leaf_hash(leaf(self.seq, self.id, stored))
        return leaf_hash(leaf(self.seq, self.kind, sha256(stored).digest()))


class Batch(NamedTuple):
    """Entries that follow one another, and the signed checkpoint they are under."""

    lines: list[Line]
    checkpoint: bytes


class Receiver(Protocol):
    """Where entries go. Raises `AdapterError`, retryable when the same batch may be sent again."""

    def take(self, batch: Batch) -> None:
        """Returns when the other side has the batch for good."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


def lines(origin: str, entries: Sequence[Entry]) -> list[Line]:
    """Entries as they leave."""
    out = []
    for e in entries:
        record = {} if e.kind == EXPIRED else _plain(msgspec.msgpack.decode(e.content))
        out.append(Line(origin, e.seq, e.kind, e.key, record.get("arrived", 0), e.leaf.hex(),
                        base64.b64encode(e.content).decode(), record))
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.hex() if isinstance(value, bytes) else value


def batches(ledger: Ledger, first: int) -> Iterator[Batch]:
    """What is published, from an entry on. Raises `ProofError` when nothing is."""
    newest = ledger.log.newest()
    if newest is None:
        raise ProofError("nothing is published yet", retryable=True, next_step="a service publishes twice a second")
    origin = Checkpoint.parse(note.parse(newest.note).text).origin
    entries = islice(ledger.scan(first), max(0, newest.size - first + 1))
    while part := list(islice(entries, AT_ONCE)):
        yield Batch(lines(origin, part), newest.note)


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """What makes a run of entries provable by itself: the hashes of the tree before it, and the checkpoint at its end."""

    first: int
    last: int
    before: list[str]
    checkpoint: str


def head(ledger: Ledger, first: int, batch: Batch) -> Head:
    """Of the entries from ``first`` to the end of the batch's checkpoint."""
    size = Checkpoint.parse(note.parse(batch.checkpoint).text).size
    growth = Growth(first - 1, TiledNodes(ledger.log.hashes))
    return Head(first, size, [peak.hex() for peak in growth.peaks()], batch.checkpoint.decode())


def check(found: Head, entries: Iterator[Line], policy: Policy, watch: Callable[[int], None] = lambda done: None) -> int:
    """Whether these entries are those of a log the policy trusts, all of them, in order; their number. Needs nothing else. Raises
    `ProofError`."""
    said, _ = policy.check(found.checkpoint.encode())
    growth = Growth.of(found.first - 1, [bytes.fromhex(peak) for peak in found.before])
    for line in entries:
        if line.seq != growth.size + 1:
            raise ProofError("entries are missing or doubled", found=line.seq, expected=f"{growth.size + 1}")
        if line.hash.hex() != line.leaf:
            raise ProofError("an entry is not the one its leaf commits to", where=f"entry {line.seq}", found=line.hash.hex(),
                             expected=line.leaf)
        growth.extend([line.hash])
        if line.seq % AT_ONCE == 0:
            watch(line.seq)
    if growth.size != said.size or growth.root() != said.root:
        raise ProofError("these entries do not make the tree their checkpoint signs", found=f"{growth.size} entries",
                         expected=f"{said.size} with root {said.root.hex()[:16]}")
    return growth.size - found.first + 1
