"""Feature state in a store that several processes share: each entity is one value with a version.

A batch is computed here, by the same kernel as ever, from what is known of its entities, and offered to the store in one call,
which takes it only if every entity still is what it was computed from; else it says what they are now, and the batch is computed
again. An entity that always comes to the same process is known there already: then a batch is one round trip.

How far each writer's ledger is in the store stands beside it, in the same call. So a store that lost what it had is noticed, and
filled again from the ledger; and what a writer left there without its ledger having it, is taken back when that writer recovers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import numpy as np

from flightworthy.ground.errors import LedgerError
from flightworthy.integration.features.plan import GroupPlan
from flightworthy.integration.features.state import FeatureState, Floats, GroupState, Ints, Rows

KNOWN = 50_000  # entities that are remembered here
_TRIES = 50
_UNIT = "\x1f"  # between the words of a key
_SLACK = 86_400_000_000  # microseconds that an idle entity is kept beyond its windows


class Change(NamedTuple):
    """What an entity shall be: ``version`` it was computed from, 0 for none; ``keep``: milliseconds without another change, 0:
    for ever."""

    key: bytes
    version: int
    content: bytes
    keep: int


class Mark(NamedTuple):
    """How far a writer's ledger is in the store: its last entry, and the newest event time."""

    seq: int
    watermark: int


class EntityStore(Protocol):
    """Every method is one round trip, atomic, and raises `LedgerError` (retryable) where the store is away."""

    prefix: str  # before all keys

    def read(self, keys: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """Version and content of each; (0, b"") for none."""
        ...

    def swap(self, writer: str, before: Mark, after: Mark, changes: Sequence[Change]) -> list[tuple[int, bytes]] | None:
        """Take all changes and move the writer's mark, and return nothing; or take nothing, and return version and content of
        each entity as it is. None when the mark does not stand where the writer believes it: the store is not what it was."""
        ...

    def mark(self, writer: str) -> Mark | None:
        """Where the writer's mark stands; None where there is none."""
        ...

    def undo(self, writer: str, seq: int) -> int:
        """Take back the writer's changes beyond an entry, and set its mark there; how many entities could not be taken back,
        because another writer had built on them."""
        ...

    def forget(self, pattern: bytes, exactly: bool) -> None:
        """Drop entities whose key is this, or has this in it."""
        ...


@dataclass
class Known:
    """An entity as it was when last seen: header (1, w) and events (n, e)."""

    version: int
    header: Ints
    entries: Ints


class SharedState(FeatureState):
    """Of one writer. ``prefix`` holds pilot and recipe, so that other features never meet."""

    def __init__(self, plans: Sequence[GroupPlan], store: EntityStore, writer: str, prefix: str, number: int) -> None:
        super().__init__(plans)
        self._store, self._writer, self._prefix = store, writer, prefix.encode()
        # Entries of several ledgers have the same numbers; in a ring each must be its event's own.
        self._offset = (number % (1 << 14)) << 48
        self._known: list[OrderedDict[int, Known]] = [OrderedDict() for _ in plans]
        self._words: dict[str, list[Any]] = {}
        self._at = store.mark(writer) or Mark(0, -(2**62))
        self._next = self._at
        self.mixed = 0
        self.trips = 0

    # -- what the engine asks -----------------------------------------------------------------------------------
    def stands(self, last: int) -> tuple[int, int]:
        """Where the store is by this writer's ledger, whose last entry is ``last``; what is beyond it is taken back."""
        if self._at.seq > last:
            self.mixed += self._store.undo(self._writer, last)
            self._at = self._store.mark(self._writer) or Mark(0, -(2**62))
        self._next = self._at
        return self._at

    def reach(self, seq: int, watermark: int) -> None:
        self._next = Mark(max(seq, self._at.seq), max(watermark, self._at.watermark))

    def value_codes(self, field_name: str, words: Sequence[Any]) -> Ints:
        """The same in every process: 52 bits of a hash, which a float holds exactly."""
        hashes = (blake2b(str(word).encode(), digest_size=8).digest() for word in words)
        return np.array([int.from_bytes(found, "big") >> 12 for found in hashes], np.int64)

    def apply(self, rows: Rows) -> Floats:
        """As in memory; raises `LedgerError` when the store is away or has lost what it had: then the engine recovers."""
        rows = Rows(rows.kinds, rows.times, rows.sequences + self._offset, rows.label, rows.fields, rows.keys)
        if not len(rows.kinds):
            return np.zeros((0, self.width))
        keys = [self._key(group.plan, rows) for group in self.groups]
        codes = [np.unique(key) for key in keys]
        names = [[self._name(group.plan, code) for code in found.tolist()]
                 for group, found in zip(self.groups, codes, strict=True)]
        self._meet(codes, names)
        for _ in range(_TRIES):
            out, changes = self._computed(rows, keys, codes, names)
            self.trips += 1
            answer = self._store.swap(self._writer, self._at, self._next, changes)
            if answer is None:
                raise LedgerError("the shared feature state is not what it was", where=self._prefix.decode(), retryable=True,
                                  found="it was lost, or another process writes as this one",
                                  next_step="it is filled again from the ledger")
            if not answer:
                self._at = self._next
                self._settle(codes, changes)
                return out
            self._learn(codes, answer)
        raise LedgerError("others change the same entities faster than this process can", where=self._prefix.decode(),
                          retryable=True, next_step="send an entity's events to one process")

    def forget(self, field_name: str, words: Sequence[Any]) -> None:
        for group, known in zip(self.groups, self._known, strict=True):
            if field_name in group.plan.key:
                for word in words:
                    alone = len(group.plan.key) == 1
                    part = self._named(group.plan, [str(word)]) if alone else f"{_UNIT}{word}{_UNIT}".encode()
                    self._store.forget(part, alone)
                known.clear()

    # -- entities -------------------------------------------------------------------------------------------------
    def _name(self, plan: GroupPlan, code: int) -> bytes:
        if not plan.key:
            return self._named(plan, [])
        if len(plan.key) == 1:
            return self._named(plan, [self._word(plan.key[0], code)])
        pair = self._word_of("+".join(plan.key), code)
        return self._named(plan, [self._word(name, part) for name, part in zip(plan.key, pair, strict=True)])

    def _named(self, plan: GroupPlan, words: list[str]) -> bytes:
        return self._prefix + f":{plan.name}:{_UNIT}".encode() + "".join(word + _UNIT for word in words).encode()

    def _word(self, field_name: str, code: int) -> str:
        return str(self._word_of(field_name, code)) if field_name in self.interners else str(code)

    def _word_of(self, name: str, code: int) -> Any:
        words = self._words.setdefault(name, [])
        if code >= len(words):
            words[:] = self.interners[name].words()
        return words[code]

    def _meet(self, codes: list[Ints], names: list[list[bytes]]) -> None:
        """Read the entities that are not known here, all in one go."""
        new = [(g, code, name) for g, (found, named) in enumerate(zip(codes, names, strict=True))
               for code, name in zip(found.tolist(), named, strict=True) if code not in self._known[g]]
        if new:
            self.trips += 1
            for (g, code, _), (version, content) in zip(new, self._store.read([name for _, _, name in new]), strict=True):
                self._known[g][code] = self._entity(g, code, version, content)

    def _entity(self, g: int, code: int, version: int, content: bytes) -> Known:
        plan = self.groups[g].plan
        if not content:
            return Known(version, np.zeros((0, plan.header_width), np.int64), np.zeros((0, plan.entry_width), np.int64))
        numbers = np.frombuffer(content, "<i8")
        header = numbers[: plan.header_width].reshape(1, -1).copy()
        header[0, 0] = code  # another process has another number for it
        return Known(version, header, numbers[plan.header_width :].reshape(-1, plan.entry_width))

    def _learn(self, codes: list[Ints], answer: list[tuple[int, bytes]]) -> None:
        places = [(g, code) for g, found in enumerate(codes) for code in found.tolist()]
        for (g, code), (version, content) in zip(places, answer, strict=True):
            if version != self._known[g][code].version:
                self._known[g][code] = self._entity(g, code, version, content)

    def _computed(self, rows: Rows, keys: list[Ints], codes: list[Ints],
                  names: list[list[bytes]]) -> tuple[Floats, list[Change]]:
        """Features of the batch, and what its entities become."""
        n, parts, changes = len(rows.kinds), [], []
        for g, group in enumerate(self.groups):
            here = [self._known[g][code] for code in codes[g].tolist()]
            own = GroupState(group.plan)
            own.restore(np.concatenate([known.header for known in here]), np.concatenate([known.entries for known in here]))
            out = np.zeros((n, len(group.plan.columns)))
            values = np.empty((n, len(group.plan.fields)))
            for i, name in enumerate(group.plan.fields):
                values[:, i] = rows.fields[name]
            own.apply(rows, keys[g], values, out)
            parts.append(out)
            changes += self._changes(g, own, codes[g], names[g])
        return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0)), changes

    def _changes(self, g: int, own: GroupState, codes: Ints, names: list[bytes]) -> list[Change]:
        headers, entries = own.packed()
        ends = np.cumsum(headers[:, 5] - headers[:, 4]).tolist()
        place = {int(code): i for i, code in enumerate(headers[:, 0])}
        out, keep = [], _keep(own.plan)
        for code, name in zip(codes.tolist(), names, strict=True):
            i = place.get(code)
            content = b"" if i is None else headers[i].tobytes() + entries[ends[i - 1] if i else 0 : ends[i]].tobytes()
            out.append(Change(name, self._known[g][code].version, content, keep))
        return out

    def _settle(self, codes: list[Ints], changes: list[Change]) -> None:
        done = iter(changes)
        for g, found in enumerate(codes):
            known = self._known[g]
            for code in found.tolist():
                change = next(done)
                known[code] = self._entity(g, code, change.version + 1, change.content)
                known.move_to_end(code)
            while len(known) > KNOWN:
                known.popitem(last=False)


def _keep(plan: GroupPlan) -> int:
    """Milliseconds after which nothing of an idle entity can matter: only where all its features are over windows of time."""
    timed = all(column.window is not None and not column.window.events for column in plan.columns)
    return (plan.horizon + _SLACK) // 1000 if timed else 0
