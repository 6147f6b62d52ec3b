"""What the tree commits to."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightworthy.governance.log.leaf import leaf, leaf_hash_of, leaf_hashes
from flightworthy.governance.log.merkle import leaf_hash
from flightworthy.ground.errors import ProofError


@given(st.integers(1, 2**60), st.lists(st.tuples(st.sampled_from(["decision", "act", "outcome"]), st.binary(max_size=50)), min_size=1))
def test_hashes_are_those_of_the_leaves(first: int, entries: list[tuple[str, bytes]]) -> None:
    kinds, contents = [kind for kind, _ in entries], [content for _, content in entries]
    expected = [leaf_hash(leaf(first + i, kind, sha256(content).digest())) for i, (kind, content) in enumerate(entries)]
    assert leaf_hashes(first, kinds, contents) == expected
    assert leaf_hash_of(first, *entries[0]) == expected[0]


@pytest.mark.parametrize("kind", ["", "two words", 'a"', "\u00e4", "a1"])
def test_a_kind_that_could_be_read_otherwise_is_refused(kind: str) -> None:
    with pytest.raises(ProofError, match="is a word"):
        leaf(1, kind, bytes(32))
    with pytest.raises(ProofError, match="is a word"):
        leaf_hash_of(1, kind, b"")
