"""Tiles (https://c2sp.org/tlog-tiles): the tree in pieces of 256 hashes, and the entries in bundles of 256, by path."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flightworthy.governance.log.merkle import TILE, folded
from flightworthy.ground.errors import ProofError

WIDTH = 1 << TILE
ENTRIES = -1  # the level of bundles
_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LENGTH = struct.Struct(">H")


class Tile(NamedTuple):
    """One resource: ``level`` of hashes or `ENTRIES`, ``place`` within it; ``width`` 256 when it is full."""

    level: int
    place: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is served.

        >>> Tile(0, 1234067).path
        'tile/0/x001/x234/067'
        >>> Tile(ENTRIES, 5, 112).path
        'tile/entries/005.p/112'
        """
        digits = f"{self.place:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        where = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{where}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Raises `ProofError` for anything else than the one way to write it."""
        found = _PATH.fullmatch(path)
        if found:
            level = ENTRIES if found[1] == "entries" else int(found[1])
            tile = cls(level, int(re.sub("[x/]", "", found[2])), int(found[3] or WIDTH))
            if tile.path == path:
                return tile
        raise ProofError("no such tile", found=path[:100], expected="tile/<level or entries>/<index>[.p/<width>]")

    def within(self, size: int) -> bool:
        """Whether a tree of this size has it."""
        level = max(0, self.level)
        return self.place * WIDTH + self.width <= size >> (TILE * level)


def for_size(size: int) -> list[Tile]:
    """All tiles of hashes of a tree, the partial ones included."""
    made, level, count = [], 0, size
    while count:
        made += [Tile(level, i) for i in range(count // WIDTH)]
        if count % WIDTH:
            made.append(Tile(level, count // WIDTH, count % WIDTH))
        level, count = level + 1, count // WIDTH
    return made


def bundle(leaves: Sequence[bytes]) -> bytes:
    """Leaves of a bundle, each after its length."""
    return b"".join(part for leaf in leaves for part in (_LENGTH.pack(len(leaf)), leaf))


def leaves_of(content: bytes) -> list[bytes]:
    """The leaves of a bundle. Raises `ProofError`."""
    leaves, at = [], 0
    while at < len(content):
        end = at + 2 + _LENGTH.unpack_from(content, at)[0] if at + 2 <= len(content) else len(content) + 1
        if end > len(content):
            raise ProofError("this bundle of entries is cut off", where=f"byte {at}")
        leaves.append(content[at + 2 : end])
        at = end
    return leaves


class TiledNodes:
    """The nodes of a tree whose hashes at every eighth level can be read: ``read(level, first, count)`` gives ``count`` of those
    at level ``8 * level``, 32 bytes each."""

    def __init__(self, read: Callable[[int, int, int], bytes]) -> None:
        self._read = read

    def node(self, level: int, index: int) -> bytes:
        """A subtree's hash, folded from its tile."""
        tile_level, above = divmod(level, TILE)
        content = self._read(tile_level, index << above, 1 << above)
        return folded([content[i : i + 32] for i in range(0, len(content), 32)])
