"""What an outcome must look like: the event's id, the label, and when it became known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from flightworthy.ground.clock import micros
from flightworthy.integration.contract import Raw, Rejection, RejectionError, no_duplicates
from flightworthy.manifest.pilot import Pilot


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The truth about one event; ``known_at`` in microseconds, or None for "when it arrived"."""

    event_id: str
    label: float
    known_at: int | None


class OutcomeContract:
    """Reads outcome records ``{<id field>: …, <label>: …, "known_at": RFC 3339 (optional)}``."""

    def __init__(self, pilot: Pilot) -> None:
        events, outcomes = pilot.manifest.events, pilot.manifest.outcomes
        label: Any = bool if outcomes.type == "boolean" else float
        identity: Any = int if events.fields[events.id].type == "integer" else str
        self._id, self._label = events.id, outcomes.label
        self.type = msgspec.defstruct(
            "Outcome", [(events.id, identity), (outcomes.label, label), ("known_at", datetime | None, None)],
            frozen=True, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(self.type)

    def read(self, raw: Raw) -> Outcome:
        """The typed outcome of a record. Raises `RejectionError`."""
        try:
            record: Any = self._decoder.decode(raw) if isinstance(raw, bytes) else msgspec.convert(raw, self.type,
                                                                                              strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RejectionError(Rejection("outcome", "", str(error))) from None
        if isinstance(raw, bytes):
            no_duplicates(raw)
        known = record.known_at
        label = float(getattr(record, self._label))
        return Outcome(str(getattr(record, self._id)), label, None if known is None else micros(known))
