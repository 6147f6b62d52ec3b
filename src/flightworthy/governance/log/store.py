"""What a ledger keeps for its transparency log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from flightworthy.ground.errors import LedgerError


class Published(NamedTuple):
    """A checkpoint as it was signed: ``number`` counts the log's checkpoints from 1, ``note`` is the whole signed note."""

    size: int
    number: int
    note: bytes

    def seal(self) -> bytes:
        """A digest over all of it, kept beside it: also lines of witnesses that nobody here knows are found when they change."""
        return sha256(b"%d %d " % self[:2] + self.note).digest()[:16]


def sealed(row: tuple[int, int, bytes, bytes], where: str) -> Published:
    """A checkpoint and its seal, as they were kept. Raises `LedgerError` when the seal is another's."""
    published = Published(*row[:3])
    if published.seal() != row[3]:
        raise LedgerError("the ledger was altered or the disk is failing: a checkpoint is not as it was sealed",
                          where=f"{where}, checkpoint of {row[0]}", next_step="restore from a backup and compare")
    return published


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
