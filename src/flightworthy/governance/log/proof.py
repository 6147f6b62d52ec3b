"""Proofs of inclusion that stand alone (https://c2sp.org/tlog-proof): index, audit path and checkpoint as one text."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import Checkpoint, number
from flightworthy.ground.errors import ProofError

_FIRST = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Proof:
    """That a leaf is in a log: its index from 0, the path, the signed checkpoint, and whatever its maker added."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def text(self) -> bytes:
        """As a ``.tlog-proof`` file."""
        head = [_FIRST, *([f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else []), f"index {self.index}",
                *(base64.b64encode(part).decode() for part in self.path)]
        return "\n".join(head).encode() + b"\n\n" + self.checkpoint

    @classmethod
    def parse(cls, content: bytes) -> Proof:
        """Read one; nothing is verified yet. Raises `ProofError`."""
        head, found, checkpoint = content.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError("this is no proof of a log", found=head[:60]) from error
        if not found or lines.pop(0) != _FIRST:
            raise ProofError("this is no proof of a log", found=head[:60].decode("ascii"), expected=_FIRST)
        extra = note.decoded(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else b""
        if not lines or not lines[0].startswith("index ") or not number(lines[0][6:]):
            raise ProofError("a proof must tell the index of its leaf", found=lines[0][:60] if lines else "nothing")
        path = tuple(note.decoded(line) for line in lines[1:])
        if len(path) > 63 or any(len(part) != 32 for part in path):
            raise ProofError("the path of a proof is at most 63 hashes of 32 bytes", found=f"{len(path)} parts")
        return cls(int(lines[0][6:]), path, checkpoint, extra)

    def holds_for(self, leaf: bytes) -> Checkpoint:
        """The checkpoint that this leaf is under; its signatures are another question. Raises `ProofError`."""
        checkpoint = Checkpoint.parse(note.parse(self.checkpoint).text)
        if not merkle.includes(merkle.leaf_hash(leaf), self.index, checkpoint.size, self.path, checkpoint.root):
            raise ProofError("the record is not in the log: its path does not lead to the root of the checkpoint",
                             where=f"{checkpoint.origin}, entry {self.index + 1} of {checkpoint.size}",
                             next_step="the record, the proof or the checkpoint was changed")
        return checkpoint
