"""The Merkle tree of RFC 6962, section 2.1: hashes, roots, proofs and their checks. SHA-256 throughout, 32 bytes each.

A tree is known by its complete subtrees: `Nodes.node(level, index)` is the hash over leaves ``index * 2**level`` up to
``(index + 1) * 2**level``. Checks follow RFC 9162, sections 2.1.3.2 and 2.1.4.2, which verify the same proofs.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from flightworthy.ground.errors import ProofError

EMPTY = sha256(b"").digest()
TILE = 8  # levels between two that are kept: tiles are 2**8 hashes wide


class Nodes(Protocol):
    """Hashes of complete subtrees."""

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree that the tree has."""
        ...


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf.

    >>> leaf_hash(b"").hex()[:16]
    '6e340b9cffb37a98'
    """
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees that lie side by side."""
    return sha256(b"\1" + left + right).digest()


def folded(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]  # `node_hash`
    return hashes[0]


class Growth:
    """A tree that grows at its right edge; keeps one hash for each set bit of its size."""

    def __init__(self, size: int = 0, nodes: Nodes | None = None) -> None:
        """Empty, or where a tree is of which ``nodes`` are known."""
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []
        if nodes is not None:
            for level, index in _parts(0, size):
                self._peaks.append((level, nodes.node(level, index)))
            self.size = size

    @classmethod
    def of(cls, size: int, peaks: Sequence[bytes]) -> Growth:
        """From what `peaks` gave. Raises `ProofError` when it is not as many hashes as a tree of this size has."""
        places = _parts(0, size)
        if len(peaks) != len(places) or any(len(peak) != 32 for peak in peaks):
            raise ProofError("these are not the hashes of a tree of this size", found=len(peaks), expected=f"{len(places)}")
        made = cls()
        made.size, made._peaks = size, [(level, peak) for (level, _), peak in zip(places, peaks, strict=True)]
        return made

    def peaks(self) -> list[bytes]:
        """The hashes of its complete parts, the largest first: one for each set bit of the size."""
        return [found for _, found in self._peaks]

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Add leaf hashes. Returns what became complete at levels that are kept: (level / 8, index, hash)."""
        done: list[tuple[int, int, bytes]] = []
        at = 0
        while at < len(leaves):
            if self.size % 256 == 0 and at + 256 <= len(leaves):
                self._push(TILE, folded(leaves[at : at + 256]), 256, done)
                at += 256
            else:
                self._push(0, leaves[at], 1, done)
                at += 1
        return done

    def _push(self, level: int, found: bytes, count: int, done: list[tuple[int, int, bytes]]) -> None:
        self.size += count
        while True:
            if level and level % TILE == 0:
                done.append((level // TILE, (self.size >> level) - 1, found))
            if not self._peaks or self._peaks[-1][0] != level:
                break
            found, level = node_hash(self._peaks.pop()[1], found), level + 1
        self._peaks.append((level, found))

    def root(self) -> bytes:
        """The hash over all of it."""
        return _joined([found for _, found in self._peaks])


def root(nodes: Nodes, size: int) -> bytes:
    """The root of the first ``size`` leaves."""
    return _range(nodes, 0, size)


def inclusion(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The audit path of a leaf (from 0) in the tree of the first ``size`` leaves. Raises `ValueError` outside of it."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """The proof that the tree of ``old`` leaves is the beginning of that of ``new``. Raises `ValueError` when it cannot be."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} is not the beginning of one of {new}")
    if old in (0, new):
        return []
    path, low, high, whole = [], 0, new, True  # whole: the old tree begins where this part does, and its root is known
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low, whole = middle, False
    if not whole:
        path.append(_range(nodes, low, high))
    return path[::-1]


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Whether an audit path leads from a leaf's hash to a root."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for other in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(other, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, other)
        node, last = node >> 1, last >> 1
    return last == 0 and found == expected


def is_prefix(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a consistency proof holds between two trees."""
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not path and (old_root == EMPTY if old == 0 else old_root == new_root)
    hashes = list(path) if old & (old - 1) else [old_root, *path]
    if not hashes:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = hashes[0]
    for other in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, other)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _split(count: int) -> int:
    """The largest power of two below a number above 1."""
    return 1 << ((count - 1).bit_length() - 1)


def _parts(low: int, high: int) -> list[tuple[int, int]]:
    """The complete subtrees, as (level, index), that leaves from an aligned ``low`` up to ``high`` are made of."""
    parts = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append((level, low >> level))
        low += 1 << level
    return parts


def _range(nodes: Nodes, low: int, high: int) -> bytes:
    return _joined([nodes.node(level, index) for level, index in _parts(low, high)])


def _joined(peaks: list[bytes]) -> bytes:
    if not peaks:
        return EMPTY
    found = peaks[-1]
    for left in reversed(peaks[:-1]):
        found = node_hash(left, found)
    return found
