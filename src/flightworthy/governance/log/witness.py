"""A witness (https://c2sp.org/tlog-witness): sees that a log only grows, and signs what it saw.

It keeps one size and root for each log it knows, and signs a checkpoint only when a proof leads from there to it. So nobody who
has all keys but the witness's can show anyone another past.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import Checkpoint, number
from flightworthy.governance.log.note import Signer, Verifier
from flightworthy.ground.clock import Clock
from flightworthy.ground.errors import ProofError

SIZE_TYPE, TEXT_TYPE = "text/x.tlog.size", "text/plain; charset=utf-8"
_MOST = 63  # lines of a proof


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    content: bytes
    kind: str = TEXT_TYPE


class Seen(Protocol):
    """What a witness saw last of each log. ``held`` keeps others out, in whichever process, until it ends."""

    def held(self, origin: str) -> AbstractContextManager[Latest]:
        """The latest of a log; what is set within is durable when the context ends well."""
        ...


@dataclass
class Latest:
    """Size and root of the newest checkpoint that was signed; 0 before the first."""

    size: int
    root: bytes


class Witness:
    """Answers ``add-checkpoint``."""

    def __init__(self, signer: Signer, logs: Mapping[str, Sequence[Verifier]], seen: Seen, clock: Clock) -> None:
        """``logs``: keys by origin."""
        self._signer, self._logs, self._seen, self._clock = signer, logs, seen, clock

    def add(self, body: bytes) -> Reply:
        """Sign a checkpoint, or say why not."""
        try:
            old, path, content = parsed(body)
            signed = note.parse(content)
            checkpoint = Checkpoint.parse(signed.text)
        except ProofError as error:
            return Reply(400, f"{error}\n".encode())
        if checkpoint.origin not in self._logs:
            return Reply(404, b"this log is not known here\n")
        try:
            if not signed.by(self._logs[checkpoint.origin]):
                return Reply(403, b"no signature by a key of this log\n")
        except ProofError as error:
            return Reply(403, f"{error}\n".encode())
        if old > checkpoint.size:
            return Reply(400, b"the old size is above the new one\n")
        with self._seen.held(checkpoint.origin) as latest:
            return self._grown(latest, old, path, checkpoint, signed.text)

    def _grown(self, latest: Latest, old: int, path: list[bytes], checkpoint: Checkpoint, text: bytes) -> Reply:
        if old != latest.size or (old == checkpoint.size and old and checkpoint.root != latest.root):
            return Reply(409, b"%d\n" % latest.size, SIZE_TYPE)
        before = latest.root if old else merkle.EMPTY
        if not merkle.is_prefix(old, before, checkpoint.size, checkpoint.root, path):
            return Reply(422, b"the proof does not lead from the old tree to the new one\n")
        latest.size, latest.root = checkpoint.size, checkpoint.root
        return Reply(200, self._signer.line(text, self._clock.now() // 1_000_000).encode())


def asked(old: int, path: Sequence[bytes], content: bytes) -> bytes:
    """The body of ``add-checkpoint``."""
    return b"".join([b"old %d\n" % old, *(base64.b64encode(part) + b"\n" for part in path), b"\n", content])


def parsed(body: bytes) -> tuple[int, list[bytes], bytes]:
    """Old size, proof and checkpoint of such a body. Raises `ProofError`."""
    head, found, content = body.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ProofError("this is no request to a witness", found=head[:60]) from error
    if not found or not lines[0].startswith("old ") or not number(lines[0][4:]) or len(lines) > _MOST + 1:
        raise ProofError("this is no request to a witness", found=lines[0][:60], expected="old SIZE, a proof, a checkpoint")
    path = [note.decoded(line) for line in lines[1:]]
    if any(len(part) != 32 for part in path):
        raise ProofError("the parts of a proof are hashes of 32 bytes")
    return int(lines[0][4:]), path, content
