"""Signed notes (https://c2sp.org/signed-note): a text and lines with Ed25519 signatures under it.

Keys are written as there: ``name+id+key`` for a verifier, ``PRIVATE+KEY+name+id+key`` for a signer; ``id`` tells which key a
line is by. A witness signs with the time (https://c2sp.org/tlog-cosignature): its keys are of another kind.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flightworthy.ground.errors import ProofError

PLAIN, COSIGNED = 1, 4  # kinds of Ed25519 keys: of a log, of a witness
_SIGNED_BY, _PRIVATE = "— ", "PRIVATE+KEY+"
_MOST = 1_000_000  # bytes of a note
_TIME = struct.Struct(">Q")


@dataclass(frozen=True)
class Verifier:
    """A public key with the name of its owner."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """From ``name+id+key``. Raises `ProofError`."""
        name, kind, public, id_ = _parsed(text.strip(), text)
        made = cls(name, kind, public)
        if kind not in (PLAIN, COSIGNED) or len(public) != 32 or made.id != id_:
            raise ProofError("this is no Ed25519 key for notes", found=text[:100], expected="name+id+key, the id that of the key")
        return made

    @property
    def id(self) -> bytes:
        """Four bytes that tell which key a line is by."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encoded(bytes([self.kind]) + self.public)}"

    def holds(self, text: bytes, signature: bytes) -> bool:
        """Whether a signature is by this key over this text; a witness's begins with its time."""
        if self.kind == COSIGNED:
            if len(signature) != 8 + 64:
                return False
            text, signature = _timed(text, _TIME.unpack(signature[:8])[0]), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A private key with the name of its owner."""

    def __init__(self, name: str, seed: bytes, kind: int = PLAIN) -> None:
        """Raises `ProofError` for a name a note cannot hold."""
        if not name or any(c.isspace() or c == "+" for c in name):
            raise ProofError("this name cannot sign notes", found=name, expected="no white space and no plus")
        self._key, self._seed = Ed25519PrivateKey.from_private_bytes(seed), seed
        self.verifier = Verifier(name, kind, self._key.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Signer:
        """From ``PRIVATE+KEY+name+id+key``. Raises `ProofError`, which does not show it."""
        if not text.startswith(_PRIVATE):
            raise ProofError("this is no private key for notes", expected=f"{_PRIVATE}name+id+key")
        name, kind, seed, id_ = _parsed(text.strip().removeprefix(_PRIVATE), "")
        if kind not in (PLAIN, COSIGNED) or len(seed) != 32 or (made := cls(name, seed, kind)).verifier.id != id_:
            raise ProofError("this is no Ed25519 private key for notes", expected=f"{_PRIVATE}name+id+key, id that of the key")
        return made

    def named(self, name: str) -> Signer:
        """The same key under another name. Raises `ProofError`."""
        return Signer(name, self._seed, self.verifier.kind)

    def secret(self) -> str:
        """The key as text, to be kept secret."""
        verifier = self.verifier
        return f"{_PRIVATE}{verifier.name}+{verifier.id.hex()}+{_encoded(bytes([verifier.kind]) + self._seed)}"

    def line(self, text: bytes, time: int = 0) -> str:
        """The signature line under a text; ``time`` in seconds since 1970 where the key is a witness's."""
        if self.verifier.kind == COSIGNED:
            signature = _TIME.pack(time) + self._key.sign(_timed(text, time))
        else:
            signature = self._key.sign(text)
        return f"{_SIGNED_BY}{self.verifier.name} {_encoded(self.verifier.id + signature)}\n"


@dataclass(frozen=True)
class Note:
    """A text (with its last newline) and the lines under it: (name, key id, signature)."""

    text: bytes
    lines: tuple[tuple[str, bytes, bytes], ...]

    def by(self, verifiers: Iterable[Verifier]) -> list[Verifier]:
        """Whose signatures hold. Raises `ProofError` when a known key's does not: then someone changed the note."""
        good = []
        for verifier in verifiers:
            given = [signature for name, id_, signature in self.lines if (name, id_) == (verifier.name, verifier.id)]
            if not given:
                continue
            if not all(verifier.holds(self.text, signature) for signature in given):
                raise ProofError("a signature does not hold", where=self.text.split(b"\n", 1)[0].decode(),
                                 found=f"not by {verifier.name}", next_step="the text or the signature was changed")
            good.append(verifier)
        return good

    def __bytes__(self) -> bytes:
        return self.text + b"\n" + b"".join(
            f"{_SIGNED_BY}{name} {_encoded(id_ + signature)}\n".encode() for name, id_, signature in self.lines)


def signed(text: str, signers: Sequence[Signer]) -> bytes:
    """A note. The text ends with a newline."""
    content = text.encode()
    return content + b"\n" + "".join(signer.line(content) for signer in signers).encode()


def parse(content: bytes) -> Note:
    """Read a note; nothing is verified yet. Raises `ProofError`."""
    try:
        whole = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProofError(f"a note must be UTF-8: {error}") from error
    text, found, under = whole.rpartition("\n\n")
    if not found or not text or len(content) > _MOST or not whole.endswith("\n") or any(
            c != "\n" and ord(c) < 0x20 for c in whole):
        raise ProofError("this is no signed note", found=whole[:60], expected="a text, an empty line, lines with signatures")
    return Note((text + "\n").encode(), lines_of(under))


def lines_of(under: str) -> tuple[tuple[str, bytes, bytes], ...]:
    """Signature lines, each ended by a newline. Raises `ProofError`."""
    lines = []
    for line in under.removesuffix("\n").split("\n"):
        name, _, encoded = line.removeprefix(_SIGNED_BY).partition(" ")
        content = decoded(encoded)
        if not line.startswith(_SIGNED_BY) or not name or len(content) < 5:
            raise ProofError("this is no signature line", found=line[:100], expected="— name base64")
        lines.append((name, content[:4], content[4:]))
    return tuple(lines)


def decoded(text: str) -> bytes:
    """Standard base64, in its one way to be written. Raises `ProofError`."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofError(f"this is no base64: {error}", found=text[:60]) from error
    if _encoded(content) != text:
        raise ProofError("this is not how base64 is written", found=text[:60], expected=_encoded(content)[:60])
    return content


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _timed(text: bytes, time: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time + text


def _parsed(text: str, shown: str) -> tuple[str, int, bytes, bytes]:
    name, _, rest = text.partition("+")
    id_, _, encoded = rest.partition("+")
    content = decoded(encoded)
    if not name or not content or len(id_) != 8 or any(c not in "0123456789abcdef" for c in id_):
        raise ProofError("this is no key for notes", found=shown[:100], expected="name+id+key")
    return name, content[0], content[1:], bytes.fromhex(id_)
