"""Checkpoints (https://c2sp.org/tlog-checkpoint): the size of a log and the root of its tree, as the text of a signed note."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from flightworthy.governance.log import note
from flightworthy.ground.errors import ProofError


@dataclass(frozen=True)
class Checkpoint:
    """What a log says it is: ``origin`` names it, ``root`` is over its first ``size`` leaves."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """As a note's text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """From a note's text; further lines are allowed and ignored. Raises `ProofError`."""
        lines = text.decode().split("\n")
        if len(lines) < 4 or not lines[0] or not number(lines[1]):
            raise ProofError("this is no checkpoint", found=text[:80].decode(), expected="origin, size and root, a line each")
        found = note.decoded(lines[2])
        if len(found) != 32:
            raise ProofError("the root of a checkpoint is a SHA-256", found=f"{len(found)} bytes", expected="32")
        return cls(lines[0], int(lines[1]), found)


def number(text: str) -> bool:
    """Whether a text is a decimal number without leading zeros, below 2**63."""
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) < 20 and int(text) < 2**63
