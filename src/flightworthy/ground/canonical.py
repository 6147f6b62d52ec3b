"""Canonical bytes of documents (manifests, models): one value, one byte string, one digest.

JSON in UTF-8 without white space; members in the order the record type declares them (maps: sorted by key); floats in
the shortest form that reads back to the same bits; what is no number in JSON (NaN, infinity) is ``null``. The records of
the ledger are MessagePack, see `flightworthy.decision.record`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode(value: Any) -> bytes:
    """Return the canonical bytes of a value.

    >>> encode({"b": 0.1, "a": None})
    b'{"a":null,"b":0.1}'
    """
    return _ENCODER.encode(value)


def digest(content: bytes) -> bytes:
    """SHA-256 of the bytes, 32 bytes."""
    return hashlib.sha256(content).digest()


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a value's canonical bytes: the name of an immutable thing.

    >>> fingerprint({"a": 1})[:8]
    '015abd7f'
    """
    return hashlib.sha256(encode(value)).hexdigest()
