"""What an event must look like, compiled once from the manifest.

A record is bytes of JSON (a line, a message, a request) or a mapping of plain values (a row of a table). It becomes an
`Event`, or a `Rejection` that says reason, field and message; it never stops a stream.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import FieldSpec

Raw = bytes | Mapping[str, Any]
SAFE_INTEGER = 2**53
_QUOTE = ord('"')
_PATH = re.compile(r" - at `\$\.?(.*?)`$")
_NAMED = re.compile(r"field `([^`]*)`")
_DECIMAL = re.compile(r"-?[0-9]{1,17}(\.[0-9]{1,6})?")
# What msgspec says → our reason, first match wins.
_REASONS = ((r"Object contains unknown field", "unknown_field"), (r"Object missing required field", "missing_field"),
            (r"Invalid enum value", "category"), (r"Invalid (RFC3339|datetime)", "format"), (r".*out of range", "range"),
            (r"Expected `[^`]*`, got `null`", "null"), (r"Expected `str` matching regex", "format"),
            (r"Expected `[^`]*` of length", "length"), (r"Expected `[^`]*` with a timezone", "format"),
            (r"Expected `[^`]*` (>|<)", "range"), (r"Expected `", "type"))


@dataclass(frozen=True)
class Rejection:
    """Why a record cannot be decided: ``reason`` is one word of a closed set (docs/contract.md)."""

    reason: str
    field: str
    message: str


class RejectionError(Exception):
    """Carries a `Rejection` out of nested reading."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


def no_duplicates(raw: bytes) -> None:
    """Raise `RejectionError` when a name stands twice, at any depth, or the bytes are not JSON after all."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen:
                raise RejectionError(Rejection("duplicate_key", name, f"the name '{name}' appears twice"))
            seen[name] = value
        return seen

    try:
        json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_int=len)  # values do not matter here
    except UnicodeDecodeError as error:
        raise RejectionError(Rejection("encoding", "", f"not UTF-8: {error.reason} at byte {error.start}")) from None
    except (ValueError, RecursionError) as error:
        raise RejectionError(Rejection("malformed", "", str(error))) from None


class Contract:
    """Reads records of one pilot. Thread-safe: nothing changes after construction."""

    def __init__(self, pilot: Pilot) -> None:
        events = pilot.manifest.events
        self.spec = events.fields
        self.id_field, self.time_field = events.id, events.time
        self._max_bytes, self._strict = events.max_bytes, events.unknown_fields == "refuse"
        members = [(name, self._type(spec)) if not spec.nullable else (name, self._type(spec) | None, None)
                   for name, spec in sorted(events.fields.items(), key=lambda item: item[1].nullable)]
        self.event = msgspec.defstruct("Event", members, frozen=True, gc=False,
                                       forbid_unknown_fields=self._strict)
        self.private = tuple(n for n in events.fields if pilot.stored(n) == "encrypt")
        self.dropped = tuple(n for n in events.fields if pilot.stored(n) == "drop")
        # As it is stored where fields are private: they may be missing.
        self.stored = self.event if not (self.private or self.dropped) else msgspec.defstruct(
            "Event", [(m[0], m[1] | None, None) if m[0] in self.private + self.dropped else m for m in self._last(members)],
            frozen=True, gc=False)
        self.secret = msgspec.defstruct("Private", [(n, self._type(events.fields[n]) | None) for n in self.private],
                                        frozen=True, gc=False, array_like=True)
        self._decoder = msgspec.json.Decoder(self.event)
        self._events = list[self.event]  # type: ignore[name-defined]
        self._decimals = [name for name, spec in events.fields.items() if spec.type == "decimal"]
        self._optional = [name for name, spec in events.fields.items() if spec.nullable]
        # Quotes of a record in which every field stands once and no text holds any.
        texts = [name for name, spec in events.fields.items() if spec.type in ("text", "category") or
                 (spec.type == "time" and spec.unit is None)]
        self._quotes = 2 * len(events.fields) + 2 * len(texts)

    def _last(self, members: list[Any]) -> list[Any]:
        """Members with those that may be missing at the end."""
        return sorted(members, key=lambda m: len(m) == 3 or m[0] in self.private + self.dropped)

    def read(self, raw: Raw) -> Any:
        """The typed event of a record. Raises `RejectionError`."""
        if isinstance(raw, bytes) and len(raw) > self._max_bytes:
            raise RejectionError(Rejection("too_large", "", f"{len(raw)} bytes, at most {self._max_bytes}"))
        try:
            if not isinstance(raw, bytes):
                return msgspec.convert(raw, self.event, strict=False)
            event = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            return self._second_look(raw, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RejectionError(self._unreadable(raw, str(error))) from None
        # Every field there, and no more quotes than they need: no name can stand twice. Else look closely.
        if raw.count(b'"') != self._quotes or any(getattr(event, name) is None for name in self._optional):
            no_duplicates(raw)
        return event

    def read_all(self, raws: Sequence[Raw]) -> list[Any] | None:
        """The events of records in one go, or None when one of them does not fit, or needs a closer look."""
        if not raws or type(raws[0]) is not bytes:
            return self._read_table(raws)
        try:
            if max(map(len, raws)) > self._max_bytes:
                return None
            events = list(map(self._decoder.decode, raws))  # type: ignore[arg-type]
            together = np.frombuffer(b"".join(raws), np.uint8)  # type: ignore[arg-type]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            return None
        # Every field is there in every record: with no more quotes than they need, no name can stand twice in any of them.
        if np.count_nonzero(together == _QUOTE) != self._quotes * len(events) or any(
                None in map(attrgetter(name), events) for name in self._optional):
            return None
        return events

    def _read_table(self, rows: Sequence[Raw]) -> list[Any] | None:
        try:
            events: list[Any] = msgspec.convert(rows, self._events, strict=False)
        except msgspec.ValidationError:
            return None
        return events

    def event_ids(self, events: Sequence[Any]) -> list[str]:
        """Their ids as text."""
        ids = map(attrgetter(self.id_field), events)
        return list(ids if self.spec[self.id_field].type == "text" else map(str, ids))

    def _unreadable(self, raw: Raw, message: str) -> Rejection:
        try:
            bytes(raw if isinstance(raw, bytes) else b"").decode()
        except UnicodeDecodeError as error:
            return Rejection("encoding", "", f"not UTF-8: {error.reason} at byte {error.start}")
        return Rejection("malformed", "", message)

    def _second_look(self, raw: Raw, message: str) -> Any:
        """Money written as text is accepted exactly; everything else becomes a rejection with its reason."""
        path = _PATH.search(message)
        if path and path.group(1) in self._decimals and "got `str`" in message and isinstance(raw, bytes):
            try:
                no_duplicates(raw)
                members = msgspec.json.decode(raw)  # as strict as reading with types: what it takes can be written again
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # broken after where typed reading stopped
                raise RejectionError(self._unreadable(raw, str(error))) from None
            if any(isinstance(v, str) for v in (members[n] for n in self._decimals if n in members)):
                texts = {n: members[n] for n in self._decimals if isinstance(members.get(n), str)}
                if all(_DECIMAL.fullmatch(text) for text in texts.values()):
                    return self.read(msgspec.json.encode(members | {n: float(t) for n, t in texts.items()}))
        reason = next((word for pattern, word in _REASONS if re.match(pattern, message, re.DOTALL)), "type")
        named = _NAMED.search(message)
        field = path.group(1) if path else (named.group(1) if named else "")
        raise RejectionError(Rejection(reason, field, message.split(" - at `$", maxsplit=1)[0]))

    def _type(self, spec: FieldSpec) -> Any:
        low = None if spec.min is None else float(spec.min)
        high = None if spec.max is None else float(spec.max)
        if spec.type == "text":
            return Annotated[str, msgspec.Meta(min_length=1, max_length=spec.max_length or 256,
                                               pattern=f"^(?:{spec.pattern})\\Z" if spec.pattern else None)]
        if spec.type == "integer":
            return Annotated[int, msgspec.Meta(ge=-SAFE_INTEGER if low is None else math.ceil(low),
                                               le=SAFE_INTEGER if high is None else math.floor(high))]
        if spec.type in ("number", "decimal"):
            most = SAFE_INTEGER / 10 ** (2 if spec.scale is None else spec.scale) if spec.type == "decimal" else 1e300
            return Annotated[float, msgspec.Meta(ge=-most if low is None else low, le=most if high is None else high)]
        if spec.type == "category":
            return Literal[tuple(spec.values or ())]
        if spec.type == "boolean":
            return bool
        if spec.unit is not None:
            most_units = 2**61 // max(1, spec.unit)
            return Annotated[int, msgspec.Meta(ge=-most_units, le=most_units)]
        return datetime if spec.assume_utc else Annotated[datetime, msgspec.Meta(tz=True)]
