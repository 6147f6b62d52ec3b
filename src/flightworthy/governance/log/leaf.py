"""Leaves of the log: what the tree commits to, one for each entry of the ledger.

A leaf is a line of JSON with the entry's number, its kind and the SHA-256 of its record as stored. So a log can be shown to
anyone, and a record be taken away without breaking a proof.
"""

from __future__ import annotations

from hashlib import sha256

from flightworthy.ground.errors import ProofError


def leaf(seq: int, kind: str, digest: bytes) -> bytes:
    """The leaf of an entry; its index in the tree is ``seq - 1``. ``digest`` is the SHA-256 of its content.

    >>> leaf(1, "act", bytes(32))[:40]
    b'{"seq":1,"kind":"act","sha256":"00000000'
    """
    return b'{"seq":%d,"kind":"%s","sha256":"%s"}' % (seq, _KINDS[kind], digest.hex().encode())


def leaf_hash_of(seq: int, kind: str, content: bytes) -> bytes:
    """The leaf hash of an entry: `leaf_hash` of its leaf, without detours, since every decision pays for it."""
    return sha256(b'\0{"seq":%d,"kind":"%s","sha256":"%s"}' % (seq, _KINDS[kind], sha256(content).hexdigest().encode())).digest()


class _Kinds(dict[str, bytes]):
    def __missing__(self, kind: str) -> bytes:
        if not kind.isascii() or not kind.isalpha():
            raise ProofError("a kind of entries is a word", found=kind)
        return self.setdefault(kind, kind.encode())


_KINDS = _Kinds()
