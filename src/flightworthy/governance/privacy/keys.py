"""The two secrets of privacy: one that finds a person again, and one under which the people's own keys lie.

``privacy-index`` never changes: with it a person's name becomes a tag, and a value its pseudonym. ``privacy-key`` wraps the keys
of the people; a new one is put in front, all keys are wrapped anew, and the old one is taken out: then copies of the ledger made
before, with keys in them that were destroyed since, are unreadable too.
"""

from __future__ import annotations

import base64
import hmac
import secrets as randomness
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flightworthy.governance.secrets import Secrets
from flightworthy.ground.errors import AdapterError, LedgerError

INDEX, WRAPPING = "privacy-index", "privacy-key"
_NONCE = 12  # bytes; a random one for each use of a key, NIST SP 800-38D 8.2.2
_BROKEN = "this secret is not a key of 32 bytes, in base64"


def fresh() -> bytes:
    """A key of 256 bits."""
    return randomness.token_bytes(32)


def seal(cipher: AESGCM, content: bytes, bound: bytes) -> bytes:
    """AES-256-GCM with a nonce in front; it opens only with the same ``bound``."""
    nonce = randomness.token_bytes(_NONCE)
    return nonce + cipher.encrypt(nonce, content, bound)


def unseal(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    """The content. Raises `InvalidTag` when key, bytes or ``bound`` are others."""
    return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)


class PrivacyKeys:
    """Made on first use. Raises `AdapterError` when a secret cannot be read or kept."""

    def __init__(self, secrets: Secrets) -> None:
        self._index = _keys(secrets, INDEX)[0]
        self._wrapping = [AESGCM(key) for key in _keys(secrets, WRAPPING)]

    def tag(self, subject: str) -> bytes:
        """How a person is found: a keyed digest of 16 bytes."""
        return self.keyed("subject", subject)

    def keyed(self, what: str, value: str) -> bytes:
        """A digest of 16 bytes that nobody can compute without the index key (HMAC-SHA-256)."""
        return hmac.digest(self._index, f"{what}\0{value}".encode(), "sha256")[:16]

    def cover(self) -> AESGCM:
        """For what may hold personal data, but whose nobody knows: records in quarantine."""
        return AESGCM(hmac.digest(self._index, b"cover", sha256))

    def wrap(self, key: bytes, ref: bytes) -> bytes:
        """A person's key, for keeping."""
        return seal(self._wrapping[0], key, ref)

    def unwrap(self, wrapped: bytes, ref: bytes) -> bytes:
        """Raises `LedgerError` when none of the wrapping keys opens it."""
        for cipher in self._wrapping:
            try:
                return unseal(cipher, wrapped, ref)
            except InvalidTag:
                continue
        raise LedgerError("no wrapping key opens this person's key", where=ref.hex(),
                          next_step=f"bring back the secret {WRAPPING} that was in use when it was written")


def renewed(secrets: Secrets) -> None:
    """Put a fresh wrapping key in front."""
    _keys(secrets, WRAPPING)
    secrets.put(WRAPPING, f"{_text(fresh())}\n{secrets.get(WRAPPING)}")


def retired(secrets: Secrets) -> None:
    """Keep the newest wrapping key alone: the others are destroyed."""
    secrets.put(WRAPPING, (secrets.get(WRAPPING) or "").split()[0])


def _keys(secrets: Secrets, name: str) -> list[bytes]:
    if secrets.get(name) is None:
        secrets.put(name, _text(fresh()), new=True)
    try:
        found = [base64.b64decode(line, validate=True) for line in (secrets.get(name) or "").split()]
    except ValueError:
        raise AdapterError(_BROKEN, where=name) from None
    if not found or any(len(key) != 32 for key in found):
        raise AdapterError(_BROKEN, where=name)
    return found


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
