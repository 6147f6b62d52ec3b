"""Reading entries out of segments, the same for every store that keeps them so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from flightworthy.governance.ledger import Entries, Entry
from flightworthy.governance.segment import Row, Segment, unpack
from flightworthy.ground.errors import LedgerError

RECENT = 512  # segments kept unpacked for single reads, about 40 kB each
SCANNED = 32  # segments read at once by a scan


class Recent:
    """Segments that were read lately. Not for several threads at once."""

    def __init__(self, where: str, firsts: Callable[[Sequence[int]], dict[int, int | None]],
                 rows: Callable[[Sequence[int]], Sequence[Row]]) -> None:
        """``firsts`` finds where the segments of entries begin, ``rows`` gets segments by where they begin."""
        self._where, self._firsts, self._rows = where, firsts, rows
        self._kept: dict[int, Segment] = {}

    def forget(self) -> None:
        """Believe no longer what was read: records expired."""
        self._kept.clear()

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        """Entries by number, in the order asked. Raises `LedgerError` when one is missing."""
        if len(seqs) > RECENT:  # more than are kept unpacked
            return [entry for i in range(0, len(seqs), RECENT) for entry in self.read(seqs[i : i + RECENT])]
        firsts = self._firsts(seqs) if seqs else {}
        missing = sorted({f for f in firsts.values() if f is not None} - self._kept.keys())
        for segment in unpack(self._rows(missing)) if missing else ():
            self._kept[segment.first] = segment
        out = []
        for seq in seqs:
            first = firsts.get(seq)
            found = None if first is None else self._kept.get(first)
            if found is None or seq >= found.first + found.count:
                raise LedgerError("no such entry", where=self._where, found=seq)
            out.append(found.entry(seq))
        while len(self._kept) > RECENT:
            del self._kept[next(iter(self._kept))]
        return out


Rows = Callable[[int, int], Sequence[Row]]  # so many segments, the first of them the one that has this entry


def scan(first: int, kinds: Iterable[str], rows_from: Rows) -> Iterator[Entry]:
    """Entries from a number on, in order, of some kinds (all when empty)."""
    wanted = set(kinds)
    for rows in _read(first, rows_from):
        for segment in unpack([row for row in rows if not wanted or wanted & set(json.loads(row[2]))]):
            yield from segment.entries(first, wanted)


def columns(first: int, last: int, rows_from: Rows) -> Iterator[Entries]:
    """Entries between two numbers, those of some segments together."""
    for rows in _read(first, rows_from):
        made = Entries.joined([segment.columns() for segment in unpack([row for row in rows if row[0] <= last])])
        if made:
            yield made[max(0, first - made.first) : last + 1 - made.first]
        if rows[-1][0] + rows[-1][1] > last:
            return


def _read(after: int, rows_from: Rows) -> Iterator[list[Row]]:
    while rows := [row for row in rows_from(after, SCANNED) if row[0] + row[1] > after]:
        after = rows[-1][0] + rows[-1][1]
        yield rows
