"""Leaves of the log: what the tree commits to, one for each entry of the ledger.

A leaf is a line of JSON with the entry's number, its kind and the SHA-256 of its record as stored. So a log can be shown to
anyone, and a record be taken away without breaking a proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import count

from flightworthy.ground.errors import ProofError


def leaf(seq: int, kind: str, digest: bytes) -> bytes:
    """The leaf of an entry; its index in the tree is ``seq - 1``. ``digest`` is the SHA-256 of its content.

    >>> leaf(1, "act", bytes(32))[:40]
    b'{"seq":1,"kind":"act","sha256":"00000000'
    """
    _words([kind])
    return f'{{"seq":{seq},"kind":"{kind}","sha256":"{digest.hex()}"}}'.encode()


def leaf_hash_of(seq: int, kind: str, content: bytes) -> bytes:
    """The leaf hash of an entry."""
    return leaf_hashes(seq, [kind], [content])[0]


def leaf_hashes(first: int, kinds: Sequence[str], contents: Sequence[bytes]) -> list[bytes]:
    """The leaf hashes of entries that follow one another: `merkle.leaf_hash` of their leaves, without detours, since every
    decision pays for it."""
    _words(kinds)
    return [sha256(f'\0{{"seq":{seq},"kind":"{kind}","sha256":"{sha256(content).hexdigest()}"}}'.encode()).digest()
            for seq, kind, content in zip(count(first), kinds, contents, strict=False)]


def _words(kinds: Iterable[str]) -> None:
    for kind in set(kinds):
        if not kind.isascii() or not kind.isalpha():
            raise ProofError("a kind of entries is a word", found=kind)
