"""What an engine needs of a ledger and of a store of features, over the keyed state of a stream processor.

The processor gives each key one writer and one consistent snapshot of all its tables, and after a failure goes on from the last:
so nothing here is written twice, and nothing has to be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import msgspec

from flightworthy.governance.ledger import (
    DECISION,
    HISTORY,
    Block,
    Counts,
    Entries,
    Entry,
    Quarantined,
)
from flightworthy.governance.log.store import LogStore
from flightworthy.governance.privacy.store import Subjects
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.features.shared import Change, Mark

_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
_READ_HELD = msgspec.msgpack.Decoder(Quarantined)
EARLY = "no_decision"  # of what is in quarantine only this is taken up again by itself
_HEAD, _HELD, _MARK = "last", "held", "mark"


class Table(Protocol):
    """A map in keyed state, as PyFlink's ``MapState``: None where a key is not there."""

    def get(self, key: Any) -> Any: ...

    def put(self, key: Any, value: Any) -> None: ...

    def put_all(self, map: dict[Any, Any]) -> None: ...

    def remove(self, key: Any) -> None: ...

    def items(self) -> Iterable[tuple[Any, Any]]: ...


class Tables(NamedTuple):
    """Of one key. ``kept``: entries and where they are, text to bytes, may expire; ``own``: how far everything is, and entities,
    text to bytes; ``early``: quarantined records that are tried again, number to bytes; ``waiting``: records that came and were
    not decided yet, number to bytes."""

    kept: Table
    own: Table
    early: Table
    waiting: Table


class KeyedLedger:
    """Entries of one key. What is committed is also handed to whoever asks for it with `told`."""

    def __init__(self, tables: Tables, where: str) -> None:
        self._kept, self._own, self._early, self._where = tables.kept, tables.own, tables.early, where
        self._entries: list[Entry] = []
        self._held: list[Quarantined] = []

    def told(self) -> tuple[list[Entry], list[Quarantined]]:
        """Entries and quarantined records since this was asked last."""
        out, self._entries, self._held = (self._entries, self._held), [], []
        return out

    def commit(self, block: Block) -> None:
        last, entries = self.last(), list(block.entries)
        if entries and block.entries.first != last + 1:
            raise self._error("entries do not continue the ledger", block.entries.first, f"{last + 1}")
        ids = [e.key for e in entries if e.kind in (DECISION, HISTORY)]
        if len(set(ids)) < len(ids) or self.find(ids):
            raise self._error("an event is decided once", "a second entry", "one entry for each event")
        if block.subjects or block.erased or block.expired:
            raise self._error("people and retention belong to a ledger on disk", "a block with them", "entries alone")
        new: dict[str, bytes] = {}
        for e in entries:
            at = _number(e.seq)
            new[f"e{e.seq}"] = _pack(e[1:])
            new[f"i{e.key}" if e.kind in (DECISION, HISTORY) else f"n{e.kind}\x1f{e.key}"] = at
        self._kept.put_all(new)
        self._own.put_all({f"p{name}": _number(at) for name, at in block.progress.items()}
                          | ({_HEAD: _number(last + len(entries))} if entries else {}))
        self._quarantine(block)
        self._entries += entries

    def _quarantine(self, block: Block) -> None:
        self._held += [self._kept_for_later(held) if held.reason == EARLY else held for held in block.quarantined]
        for number, _ in block.settled:
            self._early.remove(number)

    def _kept_for_later(self, held: Quarantined) -> Quarantined:
        number = _numbered(self._own.get(_HELD)) + 1
        self._own.put(_HELD, _number(number))
        held = replace(held, id=number)
        self._early.put(number, _pack(held))
        return held

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        found = ((key, self._kept.get(f"i{key}")) for key in keys)
        return {key: _numbered(at) for key, at in found if at is not None}

    def newest(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        found = ((key, self._kept.get(f"n{kind}\x1f{key}")) for key in keys)
        return {key: _numbered(at) for key, at in found if at is not None}

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        return [self._read(seq) for seq in seqs]

    def _read(self, seq: int) -> Entry:
        raw = self._kept.get(f"e{seq}")
        if raw is None:
            raise self._error("there is no such entry", seq, f"1 to {self.last()}, as long as they are kept")
        return Entry(seq, *_unpack(raw))

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        wanted = set(kinds)
        return (e for e in map(self._read, range(first, self.last() + 1)) if not wanted or e.kind in wanted)

    def last(self) -> int:
        return _numbered(self._own.get(_HEAD))

    def progress(self, source: str) -> int:
        return _numbered(self._own.get(f"p{source}"))

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        if status != "held":
            return []
        if after:
            some = ((n, self._early.get(n)) for n in range(after + 1, _numbered(self._own.get(_HELD)) + 1))
            found = [(n, raw) for n, raw in some if raw is not None]
        else:
            found = sorted(self._early.items())
        return [_READ_HELD.decode(raw) for _, raw in found[:limit]]

    def turn(self, patience: float = 30.0) -> AbstractContextManager[int | None]:
        return nullcontext()

    def close(self) -> None:
        return

    # -- what only a store on disk has ------------------------------------------------------------------------------
    @property
    def log(self) -> LogStore:
        raise self._only_on_disk()

    @property
    def subjects(self) -> Subjects:
        raise self._only_on_disk()

    def events(self, first: int, last: int) -> Iterator[Sequence[tuple[str, int]]]:
        raise self._only_on_disk()

    def columns(self, first: int, last: int) -> Iterator[Entries]:
        raise self._only_on_disk()

    def counts(self) -> Counts:
        raise self._only_on_disk()

    def positions(self) -> dict[str, int]:
        raise self._only_on_disk()

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        raise self._only_on_disk()

    def scrub(self) -> None:
        raise self._only_on_disk()

    def _only_on_disk(self) -> LedgerError:
        return self._error("keyed state is no ledger to look into", "a question to all of it", "the topic of entries")

    def _error(self, what: str, found: object, expected: str) -> LedgerError:
        return LedgerError(what, where=self._where, found=found, expected=expected)


class KeyedStore:
    """Entities of one key, for `SharedState`: there is one writer, so versions are not compared."""

    prefix = ""

    def __init__(self, tables: Tables) -> None:
        self._own = tables.own

    def read(self, keys: Sequence[bytes]) -> list[tuple[int, bytes]]:
        return [(0, b"") if raw is None else (1, raw) for raw in (self._own.get(_name(key)) for key in keys)]

    def swap(self, writer: str, before: Mark, after: Mark, changes: Sequence[Change]) -> list[tuple[int, bytes]] | None:
        new = {_name(c.key): c.content for c in changes if c.content}
        new[_MARK] = _pack(after)
        self._own.put_all(new)
        return []

    def mark(self, writer: str) -> Mark | None:
        raw = self._own.get(_MARK)
        return None if raw is None else Mark(*_unpack(raw))

    def undo(self, writer: str, seq: int) -> int:
        raise LedgerError("features are ahead of their entries", found=self.mark(writer), expected=f"at most {seq}",
                          next_step="go on from an older checkpoint: the snapshot is not of one instant")

    def forget(self, pattern: bytes, exactly: bool) -> None:
        raise LedgerError("an entity is forgotten where people are known, not in keyed state", found=pattern)


def _name(key: bytes) -> str:
    return "f" + key.decode()


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _numbered(raw: bytes | None) -> int:
    return 0 if raw is None else int.from_bytes(raw, "big", signed=True)

