"""The ledger: append-only entries, each canonical bytes and a leaf of a Merkle tree, durable before anyone is answered.

A store implements `Ledger`; the embedded one is SQLite. What a store must keep is executable: `checks` in
`flightworthy.governance.ledger_checks` run against every adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain, count, pairwise
from typing import NamedTuple, Protocol

from flightworthy.governance.log.store import LogStore
from flightworthy.governance.privacy.store import Subject, Subjects
from flightworthy.ground.errors import LedgerError

DECISION, OUTCOME, HISTORY, ACT = "decision", "outcome", "history", "act"
EXPIRED = "expired"  # the kind of an entry whose record was kept long enough
ERASED = "erased"  # the status of a quarantined record whose bytes were taken away


class Entry(NamedTuple):
    """One line of the ledger. ``seq`` counts from 1 without gaps; ``content`` is canonical; ``leaf`` is the hash with which the
    transparency log commits to it, see `flightworthy.governance.log.leaf`."""

    seq: int
    kind: str
    key: str
    content: bytes
    leaf: bytes


@dataclass(frozen=True)
class Entries:
    """Consecutive entries as columns (n): what a group commit writes. ``first`` is the number of the first one."""

    first: int = 0
    kinds: Sequence[str] = ()
    keys: Sequence[str] = ()
    contents: Sequence[bytes] = ()
    leaves: Sequence[bytes] = ()

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Entries:
        """Entries that follow one another, as columns. Raises `LedgerError` where one does not."""
        for seq, entry in enumerate(entries, entries[0].seq if entries else 0):
            if entry.seq != seq:
                raise LedgerError("entries do not follow one another", found=entry.seq, expected=f"{seq}")
        return cls(entries[0].seq, *list(zip(*entries, strict=True))[1:]) if entries else cls()

    @classmethod
    def joined(cls, parts: Sequence[Entries]) -> Entries:
        """Columns one after the other. Raises `LedgerError` where one does not continue the one before."""
        for before, part in pairwise(parts):
            if part.first != before.first + len(before):
                raise LedgerError("entries are missing or doubled", found=part.first, expected=f"{before.first + len(before)}")
        columns = zip(*((part.kinds, part.keys, part.contents, part.leaves) for part in parts), strict=True)
        return cls(parts[0].first, *(list(chain.from_iterable(column)) for column in columns)) if parts else cls()

    def __len__(self) -> int:
        return len(self.contents)

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, count(self.first), self.kinds, self.keys, self.contents, self.leaves)

    def __getitem__(self, part: slice) -> Entries:
        start = part.indices(len(self))[0]
        return Entries(self.first + start, self.kinds[part], self.keys[part], self.contents[part], self.leaves[part])


@dataclass(frozen=True)
class Quarantined:
    """A record that could not be decided. ``id`` is 0 until stored; ``status`` is held, admitted or discarded; ``kind`` 0
    an event, 1 an outcome, 2 an event of the past; ``table``: ``raw`` is a row of a table, written as JSON."""

    source: str
    position: int
    arrived: int
    reason: str
    field: str
    message: str
    raw: bytes
    id: int = 0
    status: str = "held"
    kind: int = 0
    table: bool = False


@dataclass
class Block:
    """What becomes durable together: entries, quarantined records, and how far a source was read."""

    entries: Entries = field(default_factory=Entries)
    quarantined: Sequence[Quarantined] = ()
    progress: dict[str, int] = field(default_factory=dict)
    settled: Sequence[tuple[int, str]] = ()  # quarantine id → new status; one that is `ERASED` loses its bytes
    subjects: Sequence[Subject] = ()  # people who are new
    erased: Sequence[bytes] = ()  # refs of people whose keys are destroyed
    expired: Sequence[tuple[int, int]] = ()  # first and last entry: records of whole segments in between go


class Counts(NamedTuple):
    """Entries; keys that `Ledger.find` knows; pairs of kind and key that `Ledger.newest` knows."""

    entries: int
    events: int
    newest: int


class Ledger(Protocol):
    """A store of entries and quarantined records. One writer at a time; readers see only what is durable.

    Every method raises `LedgerError`; its `retryable` says whether the same call may succeed later.
    """

    @property
    def log(self) -> LogStore:
        """What is published about these entries."""
        ...

    @property
    def subjects(self) -> Subjects:
        """The people decisions are about."""
        ...

    def commit(self, block: Block) -> None:
        """Make a block durable: when this returns, it survives power loss; when it raises, none of it is visible.

        The block's entries must continue the ledger's numbers; an event that has an entry already is refused.
        """
        ...

    def turn(self, patience: float = 30.0) -> AbstractContextManager[int | None]:
        """Be the only writer for a while, where several may write: waits for others (seconds; `math.inf`: for ever), then gives
        the number of the last entry. None where a store is for one process. Turns of one process may lie within each other."""
        ...

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        """Where these events are: the number of their decision, or of their entry in the history."""
        ...

    def events(self, first: int, last: int) -> Iterator[Sequence[tuple[str, int]]]:
        """All that `find` knows of entries ``first`` to ``last``: in parts, in the order in which ids are looked up, that of
        their UTF-8."""
        ...

    def newest(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        """The number of the newest entry of a kind with these keys: of the outcomes of an event, of the acts of a name."""
        ...

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        """Entries by number, in the order asked. Raises `LedgerError` when one is missing."""
        ...

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        """Entries from a number on, in order; of some kinds only, when given. Streams: memory stays flat."""
        ...

    def columns(self, first: int, last: int) -> Iterator[Entries]:
        """All entries ``first`` to ``last``, as far as there are, some thousands at once: `scan` for those who read them all."""
        ...

    def last(self) -> int:
        """The highest sequence number, 0 when empty."""
        ...

    def counts(self) -> Counts:
        """How much is kept, as the store itself counts it."""
        ...

    def progress(self, source: str) -> int:
        """How far a source was read, 0 when never."""
        ...

    def positions(self) -> dict[str, int]:
        """How far each source was read."""
        ...

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        """Quarantined records with an id above ``after``, by id."""
        ...

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        """Number of quarantined records by (status, reason)."""
        ...

    def scrub(self) -> None:
        """Leave nothing on the disk of what was deleted, as far as this store can see to it."""
        ...

    def close(self) -> None:
        """Release the store."""
        ...
