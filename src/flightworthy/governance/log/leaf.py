"""Leaves of the log: what the tree commits to, one for each entry of the ledger.

A leaf is a line of JSON with the entry's number, its kind and the SHA-256 of its record as stored. So a log can be shown to
anyone, and a record be taken away without breaking a proof.
"""

from __future__ import annotations

from hashlib import sha256

from flightworthy.governance.log.merkle import leaf_hash


def leaf(seq: int, kind: str, digest: bytes) -> bytes:
    """The leaf of an entry; its index in the tree is ``seq - 1``. ``digest`` is the SHA-256 of its content.

    >>> leaf(1, "act", bytes(32))[:40]
    b'{"seq":1,"kind":"act","sha256":"00000000'
    """
    return b'{"seq":%d,"kind":"%s","sha256":"%s"}' % (seq, kind.encode(), digest.hex().encode())


def leaf_hash_of(seq: int, kind: str, content: bytes) -> bytes:
    """The leaf hash of an entry."""
    return leaf_hash(leaf(seq, kind, sha256(content).digest()))
