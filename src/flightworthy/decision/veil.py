"""What is private of events and records, as the manifest says it.

At the door, before anything is computed, a person's name becomes a pseudonym. On the way into the ledger, what is private of a
record is sealed under the person's key; beside it stands a salted digest, so that a record commits to what is sealed in it even
when the key is gone, and so that it can be shown to someone without the key: whoever has the sealed part in clear checks it
against the digest.
"""

from __future__ import annotations

import math
import secrets as randomness
from collections.abc import Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec

from flightworthy.governance.privacy.keys import seal, unseal
from flightworthy.governance.privacy.store import Subject
from flightworthy.governance.privacy.vault import Vault, ref_of
from flightworthy.governance.reasons import Reason
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.contract import Contract
from flightworthy.manifest.pilot import Pilot

SALT = 16  # bytes; the digest of what is sealed tells nothing without it
DERIVED: dict[str, Any] = {"features": [], "outputs": [], "reasons": ()}  # members of a decision that tell of the person
_encode = msgspec.msgpack.Encoder().encode


class Veil:
    """Of one pilot; `vault` is set by whoever has a ledger."""

    def __init__(self, pilot: Pilot, contract: Contract, vault: Vault | None = None) -> None:
        self.subject, self.vault = pilot.subject, vault
        self._event, self._private = contract.event, contract.private
        self._names = attrgetter(pilot.subject)
        self._others = [n for n in pilot.manifest.events.fields if n != pilot.subject and pilot.stored(n) == "pseudonymise"]
        self._dropped = dict.fromkeys(contract.dropped)
        self._emptied = dict.fromkeys(contract.private)
        self._sealed = msgspec.msgpack.Decoder(msgspec.defstruct(
            "Sealed", [("event", contract.secret), ("features", list[float], []), ("outputs", list[float], []),
                       ("reasons", tuple[Reason, ...], ())], frozen=True, gc=False, array_like=True))
        self._outputs = len(pilot.outputs)

    def held(self) -> Vault:
        """The vault. Raises `LedgerError` where there is none."""
        if self.vault is None:
            raise LedgerError("these records are private, and no key is at hand",
                              next_step="give the secrets the pilot writes with")
        return self.vault

    # -- at the door --------------------------------------------------------------------------------------------
    def at_door(self, events: Sequence[Any], now: int) -> tuple[list[Any], list[Subject]]:
        """Events with pseudonyms for names, and people who are new (``now``: microseconds UTC)."""
        vault, names = self.held(), list(map(self._names, events))
        people, new = vault.people(list(dict.fromkeys(names)), now)
        replace, out = msgspec.structs.replace, []
        for event, name in zip(events, names, strict=True):
            told = {n: vault.keyed(n, value) for n in self._others if (value := getattr(event, n)) is not None}
            out.append(replace(event, **{self.subject: people[name].word}, **told, **self._dropped))
        return out, new

    # -- in the ledger ------------------------------------------------------------------------------------------
    def seal(self, record: Any) -> Any:
        """A record as it is stored. Only decisions and the past tell of people."""
        event = getattr(record, "event", None)
        if event is None:
            return record
        person = self.held().by_ref(ref_of(self._names(event)))
        if person is None:
            raise LedgerError("a record is about a person who was erased meanwhile", where=record.id, next_step="send it again",
                              retryable=True)
        derived = {name: nothing for name, nothing in DERIVED.items() if hasattr(record, name)}
        content = randomness.token_bytes(SALT) + _encode(
            [[getattr(event, n) for n in self._private], *(getattr(record, name) for name in derived)])
        bound = person.ref + record.seq.to_bytes(8, "big")
        return msgspec.structs.replace(record, event=msgspec.structs.replace(event, **self._emptied), **derived,
                                       commits=sha256(content).digest(), sealed=seal(person.cipher, content, bound))

    def meet(self, stored: Sequence[Any]) -> None:
        """Have the keys of all whom some records are about at hand."""
        self.held().meet({ref_of(self._names(record.event)) for record in stored})

    def open(self, stored: Any) -> Any:
        """The record as it was before; without what is private where the person was erased, and marked so."""
        event, derived, erased = stored.event, {}, False
        if stored.sealed:
            content = self.opened(stored)
            if content is None:
                erased, derived = True, dict.fromkeys(self._private)
                if hasattr(stored, "outputs"):
                    stored = msgspec.structs.replace(stored, outputs=[math.nan] * self._outputs)
            else:
                clear: Any = self._sealed.decode(content[SALT:])
                stored = msgspec.structs.replace(stored, **{n: getattr(clear, n) for n in DERIVED if hasattr(stored, n)})
                derived = {n: getattr(clear.event, n) for n in self._private}
        members = {n: getattr(event, n) for n in self._event.__struct_fields__} | derived
        return msgspec.structs.replace(stored, event=self._event(**members), commits=b"", sealed=b"", erased=erased)

    def opened(self, stored: Any) -> bytes | None:
        """What is sealed in a record, salt and all; None when the person was erased. Raises `LedgerError` when it is not what the
        record commits to."""
        person = self.held().by_ref(ref_of(self._names(stored.event)))
        if person is None:
            return None
        try:
            content = unseal(person.cipher, stored.sealed, person.ref + stored.seq.to_bytes(8, "big"))
        except Exception as error:  # InvalidTag, and what cryptography raises for bytes that are too few
            raise _altered(stored) from error
        if sha256(content).digest() != stored.commits:
            raise _altered(stored)
        return content


def _altered(stored: Any) -> LedgerError:
    return LedgerError("what is sealed in a record does not open, or is not what the record commits to",
                       where=f"entry {stored.seq}", next_step="run: flightworthy audit verify")
