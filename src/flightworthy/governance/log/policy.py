"""Whom to trust, as text (https://c2sp.org/tlog-policy): keys of logs, of witnesses, and how many witnesses it takes.

    log <key>
    witness <name> <key> [<URL>]
    group <name> <any | all | number> <names of witnesses or groups>
    quorum <name of a witness or group | none>
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flightworthy.governance.log import note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.note import COSIGNED, Verifier
from flightworthy.ground.errors import ProofError


@dataclass
class Policy:
    """Keys, and the quorum: the name of a witness or group, or none."""

    logs: list[Verifier] = field(default_factory=list)
    witnesses: dict[str, Verifier] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    quorum: str | None = None

    @classmethod
    def parse(cls, text: str, where: str = "") -> Policy:
        """Raises `ProofError` with the line."""
        policy, seen = cls(), 0
        rules: dict[str, Callable[[list[str]], None]] = {"log": policy._log, "witness": policy._witness, "group": policy._group,
                                                        "quorum": policy._quorum}
        for count, line in enumerate(text.split("\n"), 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            try:
                rules[words[0]](words[1:])
            except (KeyError, IndexError, ValueError, ProofError) as error:
                raise ProofError("this line of a policy cannot be read", where=f"{where}:{count}", found=line[:100],
                                 expected="log, witness, group or quorum with its words",
                                 next_step=error.what if isinstance(error, ProofError) else "") from error
            seen += words[0] == "quorum"
        if seen > 1:
            raise ProofError("a policy has one quorum", where=where, found=seen)
        return policy

    def check(self, content: bytes) -> tuple[Checkpoint, list[str]]:
        """A signed checkpoint, if a log's key and the quorum signed it, and the names of the witnesses. Raises `ProofError`."""
        checkpoint, names = self.read(content)
        if not self.enough(names):
            raise ProofError("too few witnesses have seen this checkpoint", where=checkpoint.origin,
                             found=", ".join(names) or "none", expected=f"the quorum {self.quorum}")
        return checkpoint, names

    def read(self, content: bytes) -> tuple[Checkpoint, list[str]]:
        """The same without asking for the quorum."""
        signed = note.parse(content)
        checkpoint = Checkpoint.parse(signed.text)
        if all(verifier.name != checkpoint.origin for verifier in signed.by(self.logs)):  # a key speaks for its own log only
            raise ProofError("the checkpoint is not signed by a key that is trusted", where=checkpoint.origin,
                             found=", ".join(name for name, _, _ in signed.lines),
                             expected=" or ".join(map(str, self.logs)) or "a key: give one")
        good = signed.by(self.witnesses.values())
        return checkpoint, [name for name, verifier in self.witnesses.items() if verifier in good]

    def enough(self, names: list[str]) -> bool:
        """Whether these witnesses are a quorum."""
        return self.quorum is None or self._reached(self.quorum, names)

    def _reached(self, name: str, signed: list[str]) -> bool:
        if name in self.witnesses:
            return name in signed
        least, members = self.groups[name]
        return sum(self._reached(member, signed) for member in members) >= least

    def _log(self, words: list[str]) -> None:
        self.logs.append(Verifier.parse(words[0]))

    def _witness(self, words: list[str]) -> None:
        verifier = Verifier.parse(words[1])
        if verifier.kind != COSIGNED:
            raise ProofError("a witness has a key for cosignatures")
        self._new(words[0])
        self.witnesses[words[0]] = verifier
        if len(words) > 2:
            self.urls[words[0]] = words[2].rstrip("/")

    def _group(self, words: list[str]) -> None:
        name, least, *members = words
        if not members or len(set(members)) < len(members) or not set(members) <= self.witnesses.keys() | self.groups.keys():
            raise ProofError("a group has members named in lines before it")
        self._new(name)
        count = {"any": 1, "all": len(members)}.get(least) or int(least)
        if not 1 <= count <= len(members):
            raise ProofError("a group needs at least one of its members, at most all")
        self.groups[name] = count, tuple(members)

    def _quorum(self, words: list[str]) -> None:
        if words[0] != "none" and words[0] not in self.witnesses.keys() | self.groups.keys():
            raise ProofError("a quorum is a witness or group named in a line before it")
        self.quorum = None if words[0] == "none" else words[0]

    def _new(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise ProofError("names of witnesses and groups are used once")
