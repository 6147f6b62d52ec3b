"""Proofs that carry the record they prove: one file for someone who has nothing else."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from flightworthy.governance.ledger import Entry, Ledger
from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.leaf import leaf
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.proof import Proof
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.ground.errors import ProofError


class _Extra(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a proof says beside the path: the record's kind and its bytes, in base64; and what is sealed in it, if it is shown."""

    kind: str
    record: str
    opened: str = ""


class _Committed(msgspec.Struct):
    """The member of a record that commits to what is sealed in it."""

    commits: bytes = b""

    @classmethod
    def read(cls, record: bytes) -> bytes:
        """Empty where there is none."""
        try:
            return msgspec.msgpack.decode(record, type=cls).commits
        except msgspec.MsgspecError:
            return b""


@dataclass(frozen=True)
class Checked:
    """A record that is in a log, and what vouches for it."""

    seq: int
    kind: str
    record: bytes
    checkpoint: Checkpoint
    witnesses: list[str]
    opened: bytes = b""


def prove(ledger: Ledger, entry: Entry, opened: bytes = b"") -> bytes:
    """A ``.tlog-proof`` with the entry's record in it, under the newest checkpoint; ``opened``: what is sealed in the record, for
    whoever may see it (`Veil.opened`). Raises `ProofError`, retryable, while the
    entry is not published."""
    newest = ledger.log.newest()
    if newest is None or newest.size < entry.seq:
        raise ProofError("this entry is not under a checkpoint yet", found=f"entry {entry.seq}",
                         expected=f"at most {newest.size if newest else 0}", retryable=True,
                         next_step="a service publishes twice a second, a stream when it ends")
    said = Checkpoint.parse(note.parse(newest.note).text)
    path = merkle.inclusion(TiledNodes(ledger.log.hashes), entry.seq - 1, said.size)
    extra = msgspec.json.encode(_Extra(entry.kind, base64.b64encode(entry.content).decode(),
                                       base64.b64encode(opened).decode()))
    made = Proof(entry.seq - 1, tuple(path), newest.note, extra)
    made.holds_for(leaf(entry.seq, entry.kind, sha256(entry.content).digest()))  # never hand out one that does not
    return made.text()


def check(content: bytes, policy: Policy) -> Checked:
    """The record of such a file, if it is in a log that the policy trusts. Needs nothing but the file. Raises `ProofError`."""
    proof = Proof.parse(content)
    try:
        extra = msgspec.json.decode(proof.extra, type=_Extra)
    except msgspec.MsgspecError as error:
        raise ProofError(f"this proof does not carry its record: {error}",
                         next_step="have one made with: flightworthy audit prove") from error
    record = note.decoded(extra.record)
    proof.holds_for(leaf(proof.index + 1, extra.kind, sha256(record).digest()))
    opened = note.decoded(extra.opened) if extra.opened else b""
    if opened and _Committed.read(record) != sha256(opened).digest():
        raise ProofError("what is shown is not what the record commits to", where=f"entry {proof.index + 1}")
    checkpoint, witnesses = policy.check(proof.checkpoint)
    return Checked(proof.index + 1, extra.kind, record, checkpoint, witnesses, opened)
