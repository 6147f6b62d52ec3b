"""What leaves a worker, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flightworthy.governance.ledger import Quarantined
from flightworthy.integration.streams import Message
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.service.answers import answer, encode

LETTER = ("reason", "field", "message", "source", "offset", "arrived", "kind", "pilot", "quarantine")  # headers of a dead letter


def messages(pilot: Pilot, records: Sequence[Any]) -> list[Message]:
    """Decisions as whoever waits for them sees them, under the key by which events are shared out: the same bytes each time."""
    name, outputs = pilot.assigned_by, pilot.outputs
    return [Message(str(getattr(r.event, name)).encode(), encode(answer(r, outputs))) for r in records]


def letter(held: Quarantined, pilot: str, private: bool) -> Message:
    """A dead letter: the record as it came, and in the headers where it came from and why it was refused. What may be about
    people stays where it is."""
    values: tuple[object, ...] = (held.reason, held.field, held.message, held.source, held.position, held.arrived,
                                  ("event", "outcome", "past")[held.kind], pilot, held.id)
    said: list[tuple[str, object]] = list(zip(LETTER, values, strict=True))
    if private:
        said.append(("left_out", "private"))
    return Message(b"", b"" if private else held.raw, tuple((name, str(value).encode()) for name, value in said))
