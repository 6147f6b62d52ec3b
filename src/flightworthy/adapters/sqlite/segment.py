"""Entries of one group commit, compressed together.

Plain text of a segment: one JSON line ``[[kind, key, length], …]``, then the contents back to back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec
import zstandard

from flightworthy.governance.ledger import Entry
from flightworthy.ground.canonical import digest
from flightworthy.ground.errors import LedgerError


def pack(entries: Sequence[Entry]) -> bytes:
    """The compressed body of a segment."""
    index = msgspec.json.encode([(e.kind, e.key, len(e.content)) for e in entries])
    return zstandard.ZstdCompressor(level=1).compress(b"".join([index, b"\n", *(e.content for e in entries)]))


class Segment:
    """An unpacked segment. Every entry is checked against its digest when it is taken out."""

    def __init__(self, first: int, count: int, kinds: str, body: bytes, digests: bytes) -> None:
        self.first, self.count, self._digests = first, count, digests
        try:
            self._plain = zstandard.ZstdDecompressor().decompress(body)
            start = self._plain.index(b"\n") + 1
            self._index: list[tuple[str, str, int]] = msgspec.json.decode(self._plain[:start])
        except (zstandard.ZstdError, msgspec.DecodeError, ValueError) as error:
            raise _altered(f"segment at entry {first}", str(error), "a readable segment") from error
        self._starts = list(accumulate((length for _, _, length in self._index), initial=start))
        if len(self._index) != count or len(digests) != 32 * count:
            raise _altered(f"segment at entry {first}", len(self._index), f"{count} entries")

    def entry(self, seq: int) -> Entry:
        """The entry with this number. Raises `LedgerError` when its bytes do not match its digest."""
        i = seq - self.first
        kind, key, length = self._index[i]
        content = self._plain[self._starts[i] : self._starts[i] + length]
        found, stored = digest(content), self._digests[32 * i : 32 * i + 32]
        if found != stored:
            raise _altered(f"entry {seq}", found.hex(), stored.hex())
        return Entry(seq, kind, key, content, stored)

    def entries(self, first: int, kinds: set[str]) -> Iterator[Entry]:
        """Entries from a number on, of some kinds (all when empty)."""
        for i, (kind, _, _) in enumerate(self._index):
            if self.first + i >= first and (not kinds or kind in kinds):
                yield self.entry(self.first + i)


def _altered(where: str, found: object, expected: str) -> LedgerError:
    return LedgerError("the ledger was altered or the disk is failing: bytes do not match their digest", where=where,
                       found=found, expected=expected, next_step="restore from a backup and compare")
