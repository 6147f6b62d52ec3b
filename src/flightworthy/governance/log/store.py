"""What a ledger keeps for its transparency log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class Published(NamedTuple):
    """A checkpoint as it was signed: ``number`` counts the log's checkpoints from 1, ``note`` is the whole signed note."""

    size: int
    number: int
    note: bytes


class LogStore(Protocol):
    """The hashes of the tree at every eighth level, and the checkpoints. Hashes are 32 bytes each, counted from 0; those of
    level 0 are the leaf hashes of the entries. Every method raises `LedgerError`."""

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """As many hashes of a level as asked for; raises when one is not there."""
        ...

    def publish(self, complete: Sequence[tuple[int, int, bytes]], published: Published) -> None:
        """Keep a checkpoint, and the hashes (level, index, hash) that became complete up to it: both or none, durable. Raises
        when there is one of this size, or of this number."""
        ...

    def countersign(self, size: int, note: bytes) -> None:
        """Put a note with more signatures in the place of that with this size."""
        ...

    def newest(self) -> Published | None:
        """The largest checkpoint; None before the first."""
        ...

    def checkpoints(self, after: int = 0) -> Iterator[Published]:
        """All of more than a size, by size."""
        ...

    def kept(self) -> int:
        """How many hashes above level 0 are kept."""
        ...
