"""The ledger: append-only entries, each canonical bytes with a digest, durable before anyone is answered.

A store implements `Ledger`; the embedded one is SQLite. What a store must keep is executable: `checks` in
`flightworthy.governance.ledger_checks` run against every adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

DECISION, OUTCOME, ACT = "decision", "outcome", "act"


class Entry(NamedTuple):
    """One line of the ledger. ``seq`` counts from 1 without gaps; ``content`` is canonical; ``digest`` its SHA-256."""

    seq: int
    kind: str
    key: str
    content: bytes
    digest: bytes


@dataclass(frozen=True)
class Quarantined:
    """A record that could not be decided. ``id`` is 0 until stored; ``status`` is held, admitted or discarded."""

    source: str
    position: int
    arrived: int
    reason: str
    field: str
    message: str
    raw: bytes
    id: int = 0
    status: str = "held"


@dataclass
class Block:
    """What becomes durable together: entries, quarantined records, and how far a source was read."""

    entries: Sequence[Entry] = ()
    quarantined: Sequence[Quarantined] = ()
    progress: dict[str, int] = field(default_factory=dict)
    settled: Sequence[tuple[int, str]] = ()  # quarantine id → new status


class Ledger(Protocol):
    """A store of entries and quarantined records. One writer at a time; readers see only what is durable.

    Every method raises `LedgerError`; its `retryable` says whether the same call may succeed later.
    """

    def commit(self, block: Block) -> None:
        """Make a block durable: when this returns, it survives power loss; when it raises, none of it is visible.

        The block's entries must continue the ledger's numbers; a decision whose key exists is refused.
        """
        ...

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        """Sequence numbers of the decisions with these event ids, where there are any."""
        ...

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        """Entries by number, in the order asked. Raises `LedgerError` when one is missing."""
        ...

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        """Entries from a number on, in order; of some kinds only, when given. Streams: memory stays flat."""
        ...

    def last(self) -> int:
        """The highest sequence number, 0 when empty."""
        ...

    def progress(self, source: str) -> int:
        """How far a source was read, 0 when never."""
        ...

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        """Quarantined records with an id above ``after``, by id."""
        ...

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        """Number of quarantined records by (status, reason)."""
        ...

    def close(self) -> None:
        """Release the store."""
        ...
