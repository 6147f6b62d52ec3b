"""Entries that lie together, compressed.

Plain text of a segment: the length of the index (4 bytes, big-endian), the index (MessagePack ``[kinds, keys, lengths]``),
then the contents back to back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise

import msgspec
import zstandard

from flightworthy.governance.ledger import EXPIRED, Entries, Entry
from flightworthy.governance.log.leaf import leaf, leaf_hash_of, leaf_hashes
from flightworthy.governance.log.merkle import leaf_hash
from flightworthy.ground.errors import LedgerError

Row = tuple[int, int, str, bytes, bytes, bytes]  # first, count, kinds, leaves, seal, body
SEGMENT = 64  # entries compressed together: single reads unpack all of them
_PIECE = 2047  # bytes: of more, hashlib lets other threads go on, and comes back long after the few microseconds that it takes
_INDEX = msgspec.msgpack.Decoder(tuple[list[str], list[str], list[int]])


def rows_of(entries: Entries, compressor: zstandard.ZstdCompressor) -> list[Row]:
    """Entries as rows of segments."""
    rows, parts = [], [entries[i : i + SEGMENT] for i in range(0, len(entries), SEGMENT)]
    for part, body in zip(parts, pack(parts, compressor), strict=True):
        head = (part.first, len(part), json.dumps(sorted(set(part.kinds))), b"".join(part.leaves))
        rows.append((*head, seal(*head, body), body))
    return rows


def without_records(row: Row, compressor: zstandard.ZstdCompressor) -> Row:
    """A segment of which only the leaves are kept: in the place of each record its digest, in the place of its key its kind."""
    found = list(unpack([row])[0].entries(0, set()))
    made = Entries(row[0], [EXPIRED] * row[1], [e.kind for e in found], [sha256(e.content).digest() for e in found])
    head, body = (row[0], row[1], json.dumps([EXPIRED]), row[3]), pack([made], compressor)[0]
    return (*head, seal(*head, body), body)


def together(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """First and last entries of segments, those that follow one another as one."""
    out: list[tuple[int, int]] = []
    for row in rows:
        if out and out[-1][1] == row[0] - 1:
            out[-1] = (out[-1][0], row[0] + row[1] - 1)
        else:
            out.append((row[0], row[0] + row[1] - 1))
    return out


def seal(first: int, count: int, kinds: str, leaves: bytes, body: bytes) -> bytes:
    """A digest over a row as it lies there. It finds what the leaves cannot: changes after which the same entries come out."""
    found = sha256(b"%d %d %s " % (first, count, kinds.encode()))
    for whole in (memoryview(leaves), memoryview(body)):
        for at in range(0, len(whole), _PIECE):
            found.update(whole[at : at + _PIECE])
    return found.digest()[:16]


def pack(parts: Sequence[Entries], compressor: zstandard.ZstdCompressor) -> list[bytes]:
    """The compressed bodies of segments, made in one call: other threads run meanwhile, but not with this compressor."""
    if len(parts) == 1:
        return [compressor.compress(_plain(parts[0]))]
    made = compressor.multi_compress_to_buffer(list(map(_plain, parts))) if parts else ()
    return [made[i].tobytes() for i in range(len(made))]


def _plain(entries: Entries) -> bytes:
    index = msgspec.msgpack.encode((entries.kinds, entries.keys, list(map(len, entries.contents))))
    return b"".join([len(index).to_bytes(4, "big"), index, *entries.contents])


def unpack(rows: Sequence[Row]) -> list[Segment]:
    """Segments from their rows, in one call. Raises `LedgerError` when one cannot be read or was changed."""
    for row in rows:
        found = seal(*row[:4], row[5])
        if found != row[4]:
            raise _altered(f"the segment from entry {row[0]} on", found.hex(), row[4].hex())
    try:
        made = zstandard.ZstdDecompressor().multi_decompress_to_buffer([row[5] for row in rows]) if rows else ()
    except (zstandard.ZstdError, ValueError) as error:
        raise _altered(f"a segment from entry {rows[0][0]} on", str(error), "a readable segment") from error
    return [Segment(row[0], row[1], made[i].tobytes(), row[3]) for i, row in enumerate(rows)]


class Segment:
    """An unpacked segment. Every entry is checked against its leaf when it is taken out."""

    def __init__(self, first: int, count: int, plain: bytes, leaves: bytes) -> None:
        self.first, self.count, self._plain, self._leaves = first, count, plain, leaves
        try:
            start = 4 + int.from_bytes(self._plain[:4], "big")
            self._kinds, self._keys, lengths = _INDEX.decode(self._plain[4:start])
        except msgspec.MsgspecError as error:
            raise _altered(f"the segment at entry {first}", str(error), "a readable segment") from error
        self._starts = list(accumulate(lengths, initial=start))
        if not len(lengths) == len(self._kinds) == len(self._keys) == count or len(leaves) != 32 * count:
            raise _altered(f"the segment at entry {first}", len(lengths), f"{count} entries")

    def entry(self, seq: int) -> Entry:
        """The entry with this number. Raises `LedgerError` when its bytes do not match its leaf."""
        i = seq - self.first
        content = self._plain[self._starts[i] : self._starts[i + 1]]
        stored = self._leaves[32 * i : 32 * i + 32]
        found = leaf_hash_of(seq, self._kinds[i], content) if self._kinds[i] != EXPIRED else \
            leaf_hash(leaf(seq, self._keys[i], content))
        if found != stored:
            raise _altered(f"entry {seq}", found.hex(), stored.hex())
        return Entry(seq, self._kinds[i], self._keys[i], content, stored)

    def entries(self, first: int, kinds: set[str]) -> Iterator[Entry]:
        """Entries from a number on, of some kinds (all when empty)."""
        if first <= self.first and (not kinds or kinds.issuperset(self._kinds)):
            return iter(self.columns())
        return (self.entry(self.first + i) for i, kind in enumerate(self._kinds)
                if self.first + i >= first and (not kinds or kind in kinds))

    def columns(self) -> Entries:
        """All of them, which is worth doing at once."""
        plain = self._plain
        contents = [plain[a:b] for a, b in pairwise(self._starts)]
        leaves = leaf_hashes(self.first, self._kinds, contents)
        if b"".join(leaves) != self._leaves:  # expired; or one is wrong, then this raises there
            leaves = [self.entry(seq).leaf for seq in range(self.first, self.first + self.count)]
        return Entries(self.first, self._kinds, self._keys, contents, leaves)


def _altered(where: str, found: object, expected: str) -> LedgerError:
    return LedgerError("the ledger was altered or the disk is failing: bytes do not match what was sealed", where=where,
                       found=found, expected=expected, next_step="restore from a backup and compare")
