"""Whether the index of a ledger leads to exactly its entries.

The index is gone through once, in its own order, and compared by hashes with what the entries said: to look up each of a million
ids would take longer than to read and hash a million entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import lt

import numpy as np

from flightworthy.governance.ledger import DECISION, HISTORY, Entries, Entry, Ledger

EVENTS = frozenset((DECISION, HISTORY))
WINDOW = 1 << 24  # entries compared at once: nine bytes of memory for each


class EventIndex:
    """What `Ledger.find` knows of some consecutive entries.

    Ids are compared by Python's `hash`, which has 64 bits and, unless PYTHONHASHSEED is set, a key that is another in each
    process: nobody can prepare another id that has the same.
    """

    def __init__(self, ledger: Ledger, first: int, last: int) -> None:
        """Of entries from ``first`` on, as many as fit, up to ``last``."""
        size = max(0, min(WINDOW, last - first + 1))
        self._ledger, self._first, self._end = ledger, first, first
        self._hashes = np.zeros(size, np.int64)
        self._left = np.zeros(size, bool)  # events the index did not lead to yet

    def fits(self, part: Entries) -> bool:
        """Whether there is room for these."""
        return part.first + len(part) <= self._first + len(self._left)

    def expect(self, part: Entries, kinds: set[str]) -> int:
        """Entries that lie here, and of which kinds they are. Returns how many of them the index must know."""
        place = slice(part.first - self._first, part.first - self._first + len(part))
        events = [True] * len(part) if kinds <= EVENTS else [kind in EVENTS for kind in part.kinds]
        self._end = part.first + len(part)
        self._hashes[place] = np.fromiter(map(hash, part.keys), np.int64, len(part))
        self._left[place] = events
        return sum(events)

    def check(self) -> Iterator[str]:
        """What is wrong, once all entries were told."""
        before: str | None = None
        for pairs in self._ledger.events(self._first, self._end - 1):
            keys, seqs = zip(*pairs, strict=True)
            if not all(map(lt, keys, keys[1:])) or (before is not None and before >= keys[0]):
                yield f"the index is not in order before event {keys[-1]}: it finds less than it holds"
            before = keys[-1]
            places = np.array(seqs, np.int64) - self._first
            right = self._left[places] & (self._hashes[places] == np.fromiter(map(hash, keys), np.int64, len(pairs)))
            self._left[places[right]] = False
            for i in np.flatnonzero(~right).tolist():
                yield from self._wrong(*pairs[i])
        for at in np.flatnonzero(self._left).tolist():
            yield from self._missing(self._ledger.read([self._first + at])[0])

    def _wrong(self, key: str, seq: int) -> Iterator[str]:
        """The index leads from here to an entry that is not this event's; unless that changed while the audit ran."""
        entry = self._ledger.read([seq])[0]
        if self._ledger.find([key]).get(key) == seq and (entry.kind not in EVENTS or entry.key != key):
            yield f"the index leads from event {key} to entry {seq}, which is another"

    def _missing(self, entry: Entry) -> Iterator[str]:
        found = self._ledger.find([entry.key]).get(entry.key)
        if entry.kind in EVENTS and found != entry.seq:
            yield f"the index leads from event {entry.key} to {found}, not to entry {entry.seq}"


class NewestIndex:
    """What `Ledger.newest` knows: it may lead ahead of what was gone through, and must have led to an entry of that name."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._ahead: dict[int, tuple[str, str]] = {}  # number → kind and key from which the index leads there
        self.met = 0

    def check(self, kind: str, part: Sequence[Entry]) -> Iterator[str]:
        """What is wrong about entries of a kind."""
        found = self._ledger.newest(kind, list({entry.key for entry in part}))
        for entry in part:
            newest = found.get(entry.key, 0)
            if newest < entry.seq:
                yield f"the index leads from {kind} {entry.key} to {newest}, not to entry {entry.seq} or a later one"
            elif newest > entry.seq:
                self._ahead[newest] = (kind, entry.key)
            elif self._ahead.pop(entry.seq, (kind, entry.key)) == (kind, entry.key):
                self.met += 1

    def end(self, last: int) -> Iterator[str]:
        """What is wrong when the last entry was gone through."""
        for seq, pair in self._ahead.items():
            if seq <= last:
                yield f"the index leads from {' '.join(pair)} to entry {seq}, which is another"
