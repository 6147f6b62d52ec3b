"""What was live when, as the ledger tells it: manifests and models by the decisions they made, and everything that was done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from flightworthy.governance.ledger import ACT, DECISION, Entry, Ledger
from flightworthy.ground.errors import LedgerError
from flightworthy.manifest.pilot import Pilot


class _Seen(msgspec.Struct, gc=False):
    """The members this needs, whichever contract the record was written with."""

    pilot: bytes
    model: bytes | None
    arrived: int
    path: list[str]


class _Act(msgspec.Struct, gc=False):
    id: str
    who: str
    said: dict[str, str]
    arrived: int


@dataclass(frozen=True)
class Change:
    """``at`` microseconds UTC; ``what`` is manifest, model or act; ``name`` the digest, or the act with what was said."""

    at: int
    seq: int
    what: str
    name: str
    who: str = ""


_decisions, _acts = msgspec.msgpack.Decoder(_Seen), msgspec.msgpack.Decoder(_Act)


def changes(pilot: Pilot, ledger: Ledger) -> Iterator[Change]:
    """All changes, in the order of the ledger. A model counts where a champion answered. Raises `LedgerError`."""
    manifest = model = b""
    for entry in ledger.scan(1, (DECISION, ACT)):
        try:
            if entry.kind == ACT:
                yield _done(entry)
                continue
            seen = _decisions.decode(entry.content)
        except msgspec.MsgspecError as error:
            raise LedgerError("a stored record cannot be read", where=f"entry {entry.seq}", found=str(error)) from error
        if seen.pilot != manifest:
            manifest = seen.pilot
            now = " (today's)" if manifest.hex() == pilot.digest else ""
            yield Change(seen.arrived, entry.seq, "manifest", manifest.hex() + now)
        if seen.model is not None and seen.path[-1] == "champion" and seen.model != model:
            model = seen.model
            yield Change(seen.arrived, entry.seq, "model", model.hex())


def _done(entry: Entry) -> Change:
    act = _acts.decode(entry.content)
    said = " ".join(f"{name}={value}" for name, value in act.said.items() if value)
    return Change(act.arrived, entry.seq, "act", f"{act.id} {said}".strip(), act.who)
