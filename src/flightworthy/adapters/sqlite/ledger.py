"""The embedded ledger: a SQLite file, and beside it what was written ahead of it.

A small block (a group commit of a live service) is flushed to a file beside the database, looked up in memory, and moved into the
tables some twentieth of a second later, together with others. Everything else goes into the tables at once. Whoever asks the
ledger, in this process or another, sees both: an entry is visible when its commit returns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flightworthy.adapters.sqlite.ahead import Ahead, HeldError, left
from flightworthy.adapters.sqlite.pending import EVENTS, Pending
from flightworthy.adapters.sqlite.tables import Tables, not_next, translated
from flightworthy.adapters.sqlite.upkeep import Upkeep
from flightworthy.governance.ledger import Block, Entries, Entry, Quarantined
from flightworthy.ground.errors import LedgerError

_log = logging.getLogger("flightworthy.adapters")
_SMALL = 1024  # entries up to which a block is written ahead; what is larger has its transaction to itself
_MOST = 64 << 20  # bytes written ahead at which commits wait for the tables
_REMEMBERED = 200_000  # ids known to be new
_LOOKS = 100  # at files in which another process writes, a hundredth of a second apart
_PATIENCE = 5.0  # seconds a writer waits for one that is leaving


class SqliteLedger:
    """May be used from several threads. One writer holds it at a time; a second one may read, and settle quarantine."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._tables = Tables(path, read_only)
        self._upkeep = Upkeep(self._move, self._tables.checkpoint)
        self._committing, self._moving = threading.Lock(), threading.Lock()
        self._turning = threading.Lock()  # of the files: no record may come between
        self._noting = threading.Lock()  # of what is pending and what is new
        self._ahead: Ahead | None = None
        self._whole = True  # what was written ahead is in its file
        self._pending: tuple[Pending, Pending] = (Pending(), Pending())  # being moved; growing
        self._last = self._moves = 0
        self._new: set[str] = set()  # ids that are nowhere, and since only we write, stay so until we write them
        if not read_only:
            self._own(0.0)

    # -- writing ------------------------------------------------------------------------------------------------
    def commit(self, block: Block) -> None:
        with self._committing, translated(str(self.path)):
            if not block.entries:
                self._tables.write(block)
                return
            if self._tables.writer is None or not self._own(_PATIENCE):
                self._tables.write(block)  # says why it is not done
            elif len(block.entries) > _SMALL or block.quarantined or block.progress or block.settled:
                self._write(block)
            else:
                self._write_ahead(block)

    def _write_ahead(self, block: Block) -> None:
        entries = block.entries
        if entries.first != self._last + 1:
            raise not_next(self.path, entries.first, self._last)
        self._check_new(entries)
        if not self._whole or sum(part.bytes for part in self._pending) > _MOST:
            self._write(block)
            return
        assert self._ahead is not None  # noqa: S101 - see `_own`
        with self._turning:
            try:
                self._ahead.append(entries)
            except OSError:  # SQLite then says what is wrong, or manages
                self._whole = False
            else:
                with self._noting:
                    self._pending[1].add(entries)
                    self._new.difference_update(entries.keys)
        if not self._whole:
            self._write(block)
            return
        self._last += len(entries)
        self._upkeep.committed()

    def _write(self, block: Block) -> None:
        """Into the tables, after all that came before."""
        self._move()
        self._move()  # what grew while the first was moved
        self._tables.write(block)
        with self._noting:
            self._last += len(block.entries)
            self._moves += 1
            self._new.difference_update(block.entries.keys)
        if not self._whole and self._ahead is not None:
            self._ahead.turn()  # nothing is ahead any more
            self._whole = True
        self._upkeep.committed()

    def _move(self) -> None:
        """What was written ahead goes into the tables; commits go on meanwhile."""
        with self._moving:
            with self._turning:
                moving, growing = self._pending
                if not moving:
                    if not growing:
                        return
                    assert self._ahead is not None  # noqa: S101 - see `_own`
                    self._ahead.turn()
                    moving, self._pending = growing, (growing, Pending())
            self._tables.write(Block(moving.all()))
            with self._noting:
                self._pending = (Pending(), self._pending[1])
                self._moves += 1

    def _check_new(self, entries: Entries) -> None:
        """Refuse an event that has an entry already, as the tables do."""
        events = entries.keys if set(entries.kinds) <= EVENTS else [
            key for kind, key in zip(entries.kinds, entries.keys, strict=True) if kind in EVENTS]
        twice = len(set(events)) < len(events)
        if twice or self.find([key for key in events if key not in self._new]):
            raise LedgerError("a decision for this event id exists already", where=str(self.path),
                              next_step="recover: the ledger already holds the answer")

    def _own(self, patience: float) -> bool:
        """Become the one writer, and take in what the last one left ahead. False when another one is: with some patience,
        raises `LedgerError`."""
        until = time.monotonic() + patience
        while self._ahead is None:
            try:
                with translated(str(self.path)):
                    self._ahead = self._take_over(Ahead(self.path))
            except HeldError:
                if time.monotonic() < until:
                    time.sleep(0.01)
                elif patience:
                    raise
                else:
                    return False
        return True

    def _take_over(self, ahead: Ahead) -> Ahead:
        try:
            found = Pending(left(self.path, self._tables.last))
            if found:
                self._tables.write(Block(found.all()))
            ahead.clear()
            self._last = self._tables.last()
        except BaseException:
            ahead.close()
            raise
        return ahead

    # -- reading: first what is ahead, then the tables; what moves in between is then seen twice, never not at all ----
    def _ahead_of_tables(self) -> Sequence[Pending]:
        if self._ahead is not None:
            return self._pending
        for look in range(_LOOKS):
            try:
                with translated(str(self.path)):
                    return [Pending(left(self.path, self._tables.last))]
            except LedgerError:  # it is being written
                if look == _LOOKS - 1:
                    raise
                time.sleep(0.01)
        return []

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        if not keys:
            return {}
        moves, pending = self._moves, self._ahead_of_tables()
        found: dict[str, int] = {}
        for part in pending:
            if part.events and not part.events.keys().isdisjoint(keys):
                found.update((key, part.events[key]) for key in keys if key in part.events)
        missing = [key for key in keys if key not in found] if found else keys
        found.update(self._tables.find(missing))
        if self._ahead is not None:
            self._remember([key for key in missing if key not in found] if found else missing, moves)
        return found

    def _remember(self, new: Sequence[str], moves: int) -> None:
        with self._noting:
            if moves != self._moves:  # what was written since may be in neither place we looked at
                return
            if len(self._new) > _REMEMBERED:
                self._new.clear()
            self._new.update(new)
            for part in self._pending:
                self._new.difference_update(key for key in new if key in part.events)

    def newest(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        pending = self._ahead_of_tables()
        found = self._tables.newest(kind, keys)
        for part in pending:
            if part.newest:
                found.update((key, part.newest[kind, key]) for key in keys if (kind, key) in part.newest)
        return found

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        last = self._tables.last()
        if not seqs or max(seqs) <= last:
            return self._tables.read(seqs)
        pending = self._ahead_of_tables()
        found = {seq: entry for seq in seqs if seq > last for part in pending if (entry := part.entry(seq)) is not None}
        rest = [seq for seq in seqs if seq not in found]
        found.update(zip(rest, self._tables.read(rest), strict=True))
        return [found[seq] for seq in seqs]

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        wanted, pending = set(kinds), self._ahead_of_tables()
        ended = yield from self._tables.scan(first, wanted)
        for part in pending:
            for entry in part:
                if entry.seq > ended and (not wanted or entry.kind in wanted):
                    yield entry

    def last(self) -> int:
        pending = self._ahead_of_tables()
        return max(self._tables.last(), *(part.last for part in pending))

    def progress(self, source: str) -> int:
        return int(self._tables.one("SELECT coalesce(max(position), 0) FROM progress WHERE source = ?", source))

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        return self._tables.quarantine(status, after, limit)

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        return self._tables.quarantine_counts()

    def close(self) -> None:
        self._upkeep.close()
        if self._ahead is not None:
            try:
                self._move()
                self._move()
                self._ahead.clear()
            except LedgerError as error:
                _log.warning("what was written ahead stays there, durable, for the next start: %s", error)
            self._ahead.close()
        self._tables.close()
