"""Feature state: what all groups remember. One writer; bits depend on the order of rows only."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.integration.features import kernel
from flightworthy.integration.features.plan import GroupPlan
from flightworthy.integration.features.still import Still

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Packing = Callable[[], tuple[Ints, Ints]]
_SMALL = 1 << 23  # bytes


@dataclass(frozen=True)
class Rows:
    """Events and outcomes in order of arrival.

    kinds, times (µs, event time), sequences: (n) int64 · label: (n) float64, the new label of an outcome, the value
    "no label yet" of an event · fields: name → (n) float64, decimals in minor units · keys: field → (n) int64.
    """

    kinds: Ints
    times: Ints
    sequences: Ints
    label: Floats
    fields: Mapping[str, Floats]
    keys: Mapping[str, Ints]


class Interner:
    """Words to dense numbers in order of first appearance; part of the state, since keys derive from it."""

    def __init__(self, words: Sequence[Any] = ()) -> None:
        self._codes: dict[Any, int] = {word: code for code, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self._codes)

    def words(self) -> list[Any]:
        """Words in the order of their codes."""
        return list(self._codes)

    def forget(self, words: set[Any]) -> set[int]:
        """Put nothing in the place of words; the codes they had."""
        gone = {code for word, code in self._codes.items() if word in words}
        if gone:
            self._codes = {f"\0{code}" if code in gone else word: code for word, code in self._codes.items()}
        return gone

    def codes(self, words: Sequence[Any]) -> Ints:
        """Codes of words, new ones for those never seen."""
        table = self._codes
        try:
            return np.array([table[word] for word in words], np.int64)
        except KeyError:
            return np.array([table.setdefault(word, len(table)) for word in words], np.int64)


@dataclass
class GroupState:
    """One group's entities: hash table, headers, and the arena with their rings."""

    plan: GroupPlan
    table: Ints = field(init=False)
    headers: Ints = field(init=False)
    arena: Ints = field(init=False)
    count: Ints = field(init=False)
    top: Ints = field(init=False)
    free: Ints = field(init=False)
    _still: Still | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.table = np.zeros(256, np.int64)
        self.headers = np.zeros((128, self.plan.header_width), np.int64)
        self.arena = np.zeros((1024, self.plan.entry_width), np.int64)
        self.count, self.top = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.free = np.full(64, -1, np.int64)

    def apply(self, rows: Rows, keys: Ints, values: Floats, out: Floats) -> None:
        """Advance by all rows; ``out`` (n, outputs) receives the features of event rows."""
        plan, done = self.plan, 0
        if (still := self._still) is not None:  # once read: whoever packs it lets it go
            still.keep(keys)
        while True:
            done = kernel.advance(
                done, rows.kinds, rows.times, rows.sequences, keys, values, rows.label, out, self.table, self.headers,
                self.headers.view(np.float64), self.arena, self.arena.view(np.float64), self.count, self.top,
                self.free, plan.windows, plan.accumulators, plan.spans, plan.outputs, plan.scales, plan.horizon,
                plan.limit)
            if done >= len(rows.kinds):
                return
            self._grow()

    def _grow(self) -> None:
        count = int(self.count[0])
        if count >= len(self.headers) or 2 * count >= len(self.table):
            self.headers = _grown(self.headers) if count >= len(self.headers) else self.headers
            self.table = np.zeros(2 * len(self.table), np.int64)
            kernel.rehash(self.table, self.headers, count)
        else:
            self.arena = _grown(self.arena)

    def packed(self) -> tuple[Ints, Ints]:
        """Headers and remembered events without gaps: the logical content, whatever the layout in memory."""
        return Still(self).packed()

    def stilled(self) -> Packing:
        """`packed` as it would be now, whenever and in whatever thread it is asked for: until then, what changes is copied
        first. Where it was not asked for yet, it is copied now."""
        self._let_go()
        still = self._still = Still(self)

        def pack() -> tuple[Ints, Ints]:
            found = still.packed()
            if self._still is still:
                self._still = None
            return found

        return pack

    def _let_go(self) -> None:
        """Copy what is left of something stilled: what comes now is not a change of its entities."""
        if (still := self._still) is not None:
            still.packed()
            self._still = None

    def restore(self, headers: Ints, entries: Ints) -> None:
        """The inverse of `packed`."""
        self._let_go()
        self.__post_init__()
        count, size = len(headers), int(headers[:, 3].sum()) if len(headers) else 0
        while len(self.table) <= 2 * count:
            self.table = np.zeros(2 * len(self.table), np.int64)
        self.headers = np.zeros((max(128, count), self.plan.header_width), np.int64)
        self.headers[:count] = headers
        self.arena = np.zeros((max(1024, size), self.plan.entry_width), np.int64)
        self.count[0] = count
        self.top[0] = kernel.unpack(self.headers, self.arena, count, entries)
        kernel.rehash(self.table, self.headers, count)

    def forget(self, keys: Ints) -> None:
        """Remove entities, by key."""
        headers, entries = self.packed()
        stay = ~np.isin(headers[:, 0], keys)
        if not stay.all():
            self.restore(headers[stay], entries[np.repeat(stay, headers[:, 5] - headers[:, 4])])

    def bytes_used(self) -> int:
        """Bytes of headers, rings and table in use."""
        return int(8 * (int(self.count[0]) * self.plan.header_width + int(self.top[0]) * self.plan.entry_width
                        + len(self.table)))


class FeatureState:
    """All groups together."""

    def __init__(self, plans: Sequence[GroupPlan]) -> None:
        self.groups = [GroupState(plan) for plan in plans]
        self.interners: dict[str, Interner] = {}
        self.forgot = 0  # how often something was forgotten
        self.width = sum(len(plan.columns) for plan in plans)

    def intern(self, field_name: str, words: Sequence[Any]) -> Ints:
        """Codes of the words of one field."""
        return self.interners.setdefault(field_name, Interner()).codes(words)

    def value_codes(self, field_name: str, words: Sequence[Any]) -> Ints:
        """Codes of words that are kept as values, to be counted."""
        return self.intern(field_name, words)

    def stands(self, last: int) -> tuple[int, int] | None:
        """Where a state that outlives the process stands: the last ledger entry in it (``last`` is the ledger's own), and the
        newest event time; None for one in memory."""
        return None

    def reach(self, seq: int, watermark: int) -> None:
        """With the rows that are applied next the state stands there."""

    def apply(self, rows: Rows) -> Floats:
        """Features (n, columns in the order of the plans) of event rows; outcome rows hold zeros."""
        n = len(rows.kinds)
        parts = []
        for group in self.groups:
            out = np.zeros((n, len(group.plan.columns)))
            values = np.empty((n, len(group.plan.fields)))
            for i, name in enumerate(group.plan.fields):
                values[:, i] = rows.fields[name]
            group.apply(rows, self._key(group.plan, rows), values, out)
            parts.append(out)
        return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0))

    def _key(self, plan: GroupPlan, rows: Rows) -> Ints:
        if not plan.key:
            return np.zeros(len(rows.kinds), np.int64)
        if len(plan.key) == 1:
            return rows.keys[plan.key[0]]
        pairs = zip(*(rows.keys[name].tolist() for name in plan.key), strict=True)
        return self.intern("+".join(plan.key), list(pairs))

    def forget(self, field_name: str, words: Sequence[Any]) -> None:
        """Drop all that groups remember of entities with these words in a field; the words themselves too."""
        interner = self.interners.get(field_name)
        gone = interner.forget(set(words)) if interner is not None else set()
        self.forgot += bool(gone)
        for group in self.groups if gone else ():
            if group.plan.key == (field_name,):
                group.forget(np.array(sorted(gone), np.int64))
            elif field_name in group.plan.key:
                place, pairs = group.plan.key.index(field_name), self.interners["+".join(group.plan.key)]
                group.forget(np.array([code for code, pair in enumerate(pairs.words()) if pair[place] in gone], np.int64))

    def digest(self) -> str:
        """SHA-256 over the logical content: equal histories give equal digests, bit for bit."""
        sha = hashlib.sha256()
        for group in self.groups:
            for part in group.packed():
                sha.update(np.ascontiguousarray(part).tobytes())
        for name in sorted(self.interners):
            sha.update(repr((name, self.interners[name].words())).encode())
        return sha.hexdigest()

    def report(self) -> list[dict[str, Any]]:
        """Per group: entities, bytes in use, bytes per entity, the bound per entity, events dropped at the limit."""
        out = []
        for group in self.groups:
            count, used = int(group.count[0]), group.bytes_used()
            out.append({"group": group.plan.name, "entities": count, "bytes": used,
                        "bytes_per_entity": round(used / max(1, count), 1), "bound_per_entity": group.plan.most_bytes,
                        "dropped": int(group.headers[:count, 6].sum())})
        return out


def _grown(array: Ints) -> Ints:
    """The same with room for more, in pages that the system gives when they are first used. A batch waits for the copy: while
    that is small the room grows by more, so that larger ones are rarer."""
    length = (8 if array.nbytes < _SMALL else 2) * len(array)
    pages = mmap.mmap(-1, length * array[0].nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # `np.zeros` may write zeros
    out = np.frombuffer(pages, np.int64).reshape(length, *array.shape[1:])
    out[: len(array)] = array
    return out
