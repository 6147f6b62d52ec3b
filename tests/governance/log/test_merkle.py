"""The tree of RFC 6962, against its published vectors and against the recursion as the RFC writes it."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightworthy.governance.log import merkle
from flightworthy.governance.log.merkle import Growth, leaf_hash
from flightworthy.governance.log.tiles import TiledNodes, for_size

# The leaves and roots that the Certificate Transparency project publishes with RFC 6962.
LEAVES = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                     "606162636465666768696a6b6c6d6e6f")]
ROOTS = ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
         "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
         "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
         "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
         "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
         "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
         "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
         "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"]


def mth(leaves: list[bytes]) -> bytes:
    """Section 2.1, as it stands there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """Section 2.1.1, as it stands there."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """Section 2.1.2, as it stands there."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


class Kept:
    """A tree grown step by step, with the hashes at every eighth level kept as a store would."""

    def __init__(self) -> None:
        self.levels: dict[int, list[bytes]] = {}
        self.growth = Growth()

    def add(self, hashes: list[bytes]) -> None:
        self.levels.setdefault(0, []).extend(hashes)
        for level, index, found in self.growth.extend(hashes):
            kept = self.levels.setdefault(level, [])
            assert len(kept) == index
            kept.append(found)

    def read(self, level: int, first: int, count: int) -> bytes:
        found = self.levels[level][first : first + count]
        assert len(found) == count
        return b"".join(found)


def test_the_published_vectors() -> None:
    growth = Growth()
    assert growth.root() == merkle.EMPTY == sha256(b"").digest()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        growth.extend([leaf_hash(leaf)])
        assert growth.root().hex() == root
    kept = Kept()
    kept.add(list(map(leaf_hash, LEAVES)))
    nodes = TiledNodes(kept.read)
    # Published audit paths and consistency proofs of the same tree.
    assert [p.hex() for p in merkle.inclusion(nodes, 0, 8)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]
    assert [p.hex() for p in merkle.consistency(nodes, 6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 31, 64, 65])
def test_proofs_are_those_of_the_recursion_and_hold(size: int) -> None:
    leaves = [b"%d" % i for i in range(size)]
    kept = Kept()
    kept.add(list(map(leaf_hash, leaves)))
    nodes, root = TiledNodes(kept.read), mth(leaves)
    assert merkle.root(nodes, size) == root == kept.growth.root()
    for index in range(size):
        proof = merkle.inclusion(nodes, index, size)
        assert proof == path(index, leaves)
        assert merkle.includes(leaf_hash(leaves[index]), index, size, proof, root)
        assert not merkle.includes(leaf_hash(b"other"), index, size, proof, root)
        assert not any(merkle.includes(leaf_hash(leaves[index]), other, size, proof, root) for other in range(-1, size + 2)
                       if other != index)
    for old in range(size + 1):
        proof = merkle.consistency(nodes, old, size)
        assert proof == ([] if old == 0 else subproof(old, leaves, True))
        before = mth(leaves[:old])
        assert merkle.is_prefix(old, before, size, root, proof)
        assert not merkle.is_prefix(old, leaf_hash(b"other"), size, root, proof)
        assert old == 0 or not merkle.is_prefix(old, before, size, leaf_hash(b"other"), proof)
        assert not merkle.is_prefix(old, before, size, root, [*proof, root])
        assert not proof or not merkle.is_prefix(old, before, size, root, proof[:-1])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65535, 65536, 65537, 70000])
def test_sizes_at_the_edges_of_tiles(size: int) -> None:
    hashes = [leaf_hash(b"%d" % i) for i in range(size)]
    kept = Kept()
    for start in range(0, size, 1000):  # pieces that fit no tile
        kept.add(hashes[start : start + 1000])
    nodes = TiledNodes(kept.read)
    expected = _root(hashes)
    assert kept.growth.root() == expected and kept.growth.size == size and merkle.root(nodes, size) == expected
    assert Growth(size, nodes).root() == expected
    for tile in for_size(size):
        assert tile.within(size) and len(kept.read(tile.level, tile.place * 256, tile.width)) == 32 * tile.width
    for index in {0, 1, 254, 255, 256, size // 2, size - 2, size - 1} & set(range(size)):
        assert merkle.includes(hashes[index], index, size, merkle.inclusion(nodes, index, size), expected)
        old = index + 1
        assert merkle.is_prefix(old, merkle.root(nodes, old), size, expected, merkle.consistency(nodes, old, size))
    if size == 70000:  # as the text of tlog-tiles counts them
        found = for_size(size)
        assert sum(t.level == 0 and t.width == 256 for t in found) == 273
        assert {(t.level, t.width) for t in found if t.width < 256} == {(0, 112), (1, 17), (2, 1)}


def _root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return merkle.EMPTY
    while len(hashes) > 1:  # level by level: an odd one at the end goes up as it is
        hashes = [merkle.node_hash(*hashes[i : i + 2]) if i + 1 < len(hashes) else hashes[i] for i in range(0, len(hashes), 2)]
    return hashes[0]


@given(st.lists(st.integers(1, 700), max_size=8), st.data())
def test_a_tree_grown_in_any_steps_is_the_same(steps: list[int], data: st.DataObject) -> None:
    kept, hashes = Kept(), [leaf_hash(b"%d" % i) for i in range(sum(steps))]
    start = 0
    for step in steps:
        kept.add(hashes[start : start + step])
        start += step
        assert kept.growth.root() == _root(hashes[:start])
    old = data.draw(st.integers(0, start))
    again = Growth(old, TiledNodes(kept.read))
    again.extend(hashes[old:])
    assert again.root() == kept.growth.root()


def test_what_a_tree_does_not_have_is_refused() -> None:
    kept = Kept()
    kept.add([leaf_hash(b"a")])
    nodes = TiledNodes(kept.read)
    for index, size in ((1, 1), (-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="not in a tree"):
            merkle.inclusion(nodes, index, size)
    with pytest.raises(ValueError, match="not the beginning"):
        merkle.consistency(nodes, 2, 1)
    assert not merkle.is_prefix(2, merkle.EMPTY, 1, merkle.EMPTY, [])
