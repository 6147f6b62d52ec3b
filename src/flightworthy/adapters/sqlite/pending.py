"""Entries that are durable and not in the tables yet, as they are looked up meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain

from flightworthy.governance.ledger import DECISION, HISTORY, Entries, Entry

EVENTS = {DECISION, HISTORY}


class Pending:
    """Blocks of entries that follow one another. One thread adds, others may read."""

    def __init__(self, blocks: Sequence[Entries] = ()) -> None:
        self._blocks: list[Entries] = []
        self._firsts: list[int] = []
        self.events: dict[str, int] = {}  # id → number
        self.newest: dict[tuple[str, str], int] = {}  # kind and key → number, of all other entries
        self.bytes = 0
        for entries in blocks:
            self.add(entries)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(list(self._blocks))

    def add(self, entries: Entries) -> None:
        """Behind what is here."""
        numbers = range(entries.first, entries.first + len(entries))
        if set(entries.kinds) <= EVENTS:
            self.events.update(zip(entries.keys, numbers, strict=True))
        else:
            for kind, key, seq in zip(entries.kinds, entries.keys, numbers, strict=True):
                if kind in EVENTS:
                    self.events[key] = seq
                else:
                    self.newest[kind, key] = seq
        self.bytes += sum(map(len, entries.contents))
        self._blocks.append(entries)
        self._firsts.append(entries.first)

    @property
    def last(self) -> int:
        """The number of the last entry, 0 when there is none."""
        return self._blocks[-1].first + len(self._blocks[-1]) - 1 if self._blocks else 0

    def entry(self, seq: int) -> Entry | None:
        """The entry with this number, if it is here."""
        at = bisect_right(self._firsts, seq) - 1
        if at < 0 or seq >= self._firsts[at] + len(self._blocks[at]):
            return None
        return next(iter(self._blocks[at][seq - self._firsts[at] : seq - self._firsts[at] + 1]))

    def all(self) -> Entries:
        """Everything, as one."""
        if len(self._blocks) == 1:
            return self._blocks[0]
        return Entries(self._firsts[0], *([x for block in self._blocks for x in getattr(block, name)]
                                          for name in ("kinds", "keys", "contents", "digests"))) if self._blocks else Entries()
