"""The complete records of the ledger, as they are stored: MessagePack maps, members in the order declared here;
members at the end that have a default are left out when they hold it.

MessagePack (https://github.com/msgpack/msgpack) because it is canonical for our types without further rules: numbers
keep their 64 bits, integers and texts take their shortest form, and any language reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from flightworthy.decision.veil import Veil
from flightworthy.governance.ledger import ACT, DECISION, EXPIRED, HISTORY, OUTCOME, Entries, Entry
from flightworthy.governance.log.leaf import leaf_hashes
from flightworthy.governance.reasons import Reason
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.contract import Contract

VERSION = 1
ANSWERED = "answered"  # with an event's id, the name of an act: what its caller was told beside the ledger, which says another
_encode = msgspec.msgpack.Encoder().encode
_kind, _id = attrgetter("kind"), attrgetter("id")


class OutcomeRecord(msgspec.Struct, frozen=True, gc=False):
    """An outcome as stored; ``decision`` is the entry it belongs to, times in microseconds."""

    v: int
    kind: str
    seq: int
    id: str
    decision: int
    label: float
    known_at: int
    arrived: int


class ActRecord(msgspec.Struct, frozen=True, gc=False):
    """Something a person or a program did to the pilot: ``id`` names the kind of act, ``said`` how it was set, and why."""

    v: int
    kind: str
    seq: int
    id: str
    who: str
    said: dict[str, str]
    arrived: int


_PRIVATE: list[Any] = [("commits", bytes, b""), ("sealed", bytes, b""), ("erased", bool, False)]


def history_type(event: Any) -> Any:
    """The record type of an event of the past: remembered by the features, never decided."""
    return msgspec.defstruct("HistoryRecord", [("v", int), ("kind", str), ("seq", int), ("id", str), ("event", event),
                                               ("arrived", int), *_PRIVATE], frozen=True, gc=False, omit_defaults=True)


def decision_type(event: Any) -> Any:
    """The record type of a pilot: its event, and everything that led from it to the action.

    features: values in the order of the pilot, NaN = unknown · arm and propensity: as drawn · model: digest of the one
    that answered · outputs: its answer, NaN = none · path: failed steps of the models with reason, then who answered ·
    by: whose policy decided (the baseline in the holdout) · rule: index in that policy · otherwise, otherwise_quantity:
    what the baseline would have done · arrived, decided: microseconds UTC · clocks: microseconds spent waiting, on
    features and on the model, for the whole batch · pilot: digest of the manifest · consent: the entry
    that gave it, 0 where it is not asked for · explore: probability with which this case, adverse by its rule, could be let
    through; it was where the action is another than the rule's. Where a manifest says what is private: sealed: event fields,
    features, outputs and reasons under the person's key (then they are empty beside it) · commits: SHA-256 of what is sealed ·
    erased: never stored, said by a reader when the key is gone.
    """
    return msgspec.defstruct("DecisionRecord", [
        ("v", int), ("kind", str), ("seq", int), ("id", str), ("event", event), ("features", list[float]),
        ("arm", str), ("propensity", float), ("model", bytes | None), ("outputs", list[float]), ("path", list[str]),
        ("by", str), ("rule", int), ("action", str), ("otherwise", str), ("arrived", int), ("decided", int),
        ("clocks", list[int]), ("pilot", bytes), ("quantity", float | None, None),
        ("otherwise_quantity", float | None, None), ("reasons", tuple[Reason, ...], ()), ("consent", int, 0),
        ("explore", float, 0.0), *_PRIVATE], frozen=True, gc=False, omit_defaults=True)


def told_type(event: Any) -> Any:
    """What decisions and the past have in common, and all that a feature state learns from them: their other members are passed
    over, unread."""
    return msgspec.defstruct("ToldRecord", [("kind", str), ("seq", int), ("id", str), ("event", event)], frozen=True, gc=False)


class Recorder:
    """Makes records into entries and back, for the contract of one pilot."""

    def __init__(self, contract: Contract, veil: Veil | None = None) -> None:
        self.decision, self.history, self.veil = decision_type(contract.event), history_type(contract.event), veil
        stored = (decision_type(contract.stored), history_type(contract.stored)) if veil else (self.decision, self.history)
        self._decoders = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in
                          ((DECISION, stored[0]), (HISTORY, stored[1]), (OUTCOME, OutcomeRecord), (ACT, ActRecord))}
        told = msgspec.msgpack.Decoder(told_type(contract.event))
        self._briefly = self._decoders | {DECISION: told, HISTORY: told}

    def entries(self, records: Sequence[Any]) -> Entries:
        """Records as they are stored: what is private is sealed."""
        return entries_of(records if self.veil is None else list(map(self.veil.seal, records)))

    def read(self, entry: Entry) -> Any:
        """The record of an entry, opened. Raises `LedgerError` when it is another entry's, or does not fit the contract."""
        record = self.stored(entry)
        return record if self.veil is None or entry.kind not in (DECISION, HISTORY) else self.veil.open(record)

    def read_all(self, entries: Sequence[Entry]) -> list[Any]:
        """The records of entries; whoever they are about is looked up in one go."""
        if self.veil is None:
            return list(map(self.read, entries))
        stored = list(map(self.stored, entries))
        private = [record for record in stored if record.kind in (DECISION, HISTORY)]
        self.veil.meet(private)
        return [self.veil.open(record) if record.kind in (DECISION, HISTORY) else record for record in stored]

    def told(self, entries: Sequence[Entry]) -> list[Any]:
        """What the records of entries tell a feature state: of decisions and the past (see `told_type`) their events. Raises as
        `read` does."""
        return self.read_all(entries) if self.veil is not None else [self._decoded(entry, self._briefly) for entry in entries]

    def stored(self, entry: Entry) -> Any:
        """The record of an entry as it lies there."""
        return self._decoded(entry, self._decoders)

    @staticmethod
    def _decoded(entry: Entry, decoders: dict[str, msgspec.msgpack.Decoder[Any]]) -> Any:
        if entry.kind == EXPIRED:
            raise LedgerError("this record was kept as long as the manifest says, and is gone", where=f"entry {entry.seq}")
        try:
            record = decoders[entry.kind].decode(entry.content)
        except msgspec.MsgspecError as error:
            raise LedgerError("a stored record does not fit today's contract", where=f"entry {entry.seq}",
                              found=str(error), next_step="use the manifest it was written with") from error
        if (record.kind, record.seq, record.id) != (entry.kind, entry.seq, entry.key):
            raise LedgerError("the ledger was altered: a record is not the one its entry says", where=f"entry {entry.seq}",
                              found=f"{record.kind} {record.seq} {record.id}", expected=f"{entry.kind} {entry.key}",
                              next_step="restore from a backup and compare")
        return record


def entries_of(records: Sequence[Any]) -> Entries:
    """The ledger entries of consecutive records: their canonical bytes, and the leaf hashes that commit to them."""
    if not records:
        return Entries()
    contents, kinds, first = list(map(_encode, records)), list(map(_kind, records)), records[0].seq
    return Entries(first, kinds, list(map(_id, records)), contents, leaf_hashes(first, kinds, contents))
