"""The ledger in PostgreSQL: the same segments as in the embedded one, partitioned by month, every commit one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from os import urandom
from threading import Lock
from typing import Any

import asyncpg
import zstandard

from flightworthy.adapters.postgres import migrate, statements
from flightworthy.adapters.postgres.link import LONG, Link
from flightworthy.adapters.postgres.log import PostgresLog
from flightworthy.adapters.postgres.subjects import PostgresSubjects
from flightworthy.governance.ledger import DECISION, EXPIRED, HISTORY, Block, Counts, Entries, Entry, Quarantined
from flightworthy.governance.reading import Recent, columns, scan
from flightworthy.governance.segment import Row, rows_of, together, without_records
from flightworthy.ground.clock import Clock, SystemClock
from flightworthy.ground.errors import LedgerError

_EVENTS = {DECISION, HISTORY}
_AT_ONCE = 8192  # rows of the index
_HELD = "source, position, arrived, reason, field, message, raw, id, status, kind, tabular"


class PostgresLedger:
    """May be used from several threads, and by several processes: see `turn`."""

    def __init__(self, link: Link, read_only: bool = False, clock: Clock | None = None) -> None:
        """Brings the schema up to date. Raises `LedgerError`."""
        self._link, self._read_only, self._clock = link, read_only, clock or SystemClock()
        migrate.check(link) if read_only else migrate.up(link)
        self._compressor, self._packing, self._reading = zstandard.ZstdCompressor(level=1), Lock(), Lock()
        self._recent = Recent(link.where, self._firsts, self._rows)
        self._months = migrate.Months(link)
        self.log = PostgresLog(link, read_only)
        self.subjects = PostgresSubjects(link, read_only)

    @contextmanager
    def turn(self, patience: float = 30.0) -> Iterator[int | None]:
        with self._link.turn(patience):
            yield self.last()

    # -- writing ------------------------------------------------------------------------------------------------
    def commit(self, block: Block) -> None:
        if self._read_only:
            raise LedgerError("this ledger was opened for reading only", where=self._link.where)
        now = datetime.fromtimestamp(self._clock.now() / 1e6, UTC)
        self._months.there(now)
        with self._packing:
            rows = rows_of(block.entries, self._compressor)
        values = [*_entries(block, rows), now, list(block.progress), list(block.progress.values())]
        query = statements.DECIDED
        if block.subjects or block.erased:
            query, values = statements.PEOPLE, values + _others(block) + _people(block)
        elif block.quarantined or block.settled or not set(block.entries.kinds) <= _EVENTS:
            query, values = statements.ANY, values + _others(block)

        async def once(writer: asyncpg.Connection[Any], again: bool) -> bool:
            if not block.expired:
                return await writer.fetchval(query, *values) == 1 or (again and await self._was_ours(writer, rows))
            async with writer.transaction():
                if await writer.fetchval(query, *values) != 1:
                    return again and await self._was_ours(writer, rows)
                await _expire(writer, block)
                return True

        done = self._link.write(once)
        if block.expired:
            with self._reading:
                self._recent.forget()
        if not done:
            raise LedgerError("entries do not continue the ledger", where=self._link.where, found=block.entries.first,
                              expected=f"{self.last() + 1}", next_step="another writer was here; recover and try again")

    @staticmethod
    async def _was_ours(writer: asyncpg.Connection[Any], rows: list[Row]) -> bool:
        """Whether these segments are there already: a try whose acknowledgement was lost had succeeded."""
        found = await writer.fetch("SELECT first, leaves FROM segment WHERE first = ANY($1::bigint[]) ORDER BY first",
                                   [row[0] for row in rows])
        return [tuple(row) for row in found] == [(row[0], row[3]) for row in rows]

    # -- reading ------------------------------------------------------------------------------------------------
    def find(self, keys: Sequence[str]) -> dict[str, int]:
        if not keys:
            return {}
        found = self._link.rows("SELECT id, seq FROM event WHERE id = ANY($1::bytea[])", [key.encode() for key in set(keys)])
        return {key.decode(): seq for key, seq in found}

    def events(self, first: int, last: int) -> Iterator[Sequence[tuple[str, int]]]:
        beyond, after = ">=", b""
        while found := self._link.rows(f"SELECT id, seq FROM event WHERE id {beyond} $1 AND seq BETWEEN $2 AND $3 "
                                       "ORDER BY id LIMIT $4", after, first, last, _AT_ONCE):
            try:
                yield [(key.decode(), seq) for key, seq in found]
            except UnicodeDecodeError as error:
                raise LedgerError("the index holds an id that is no text: it was altered", where=self._link.where,
                                  found=repr(error.object), expected="UTF-8") from error
            beyond, after = ">", found[-1][0]

    def newest(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        if not keys:
            return {}
        found = self._link.rows("SELECT key, seq FROM newest WHERE kind = $1 AND key = ANY($2::bytea[])", kind,
                                [key.encode() for key in set(keys)])
        return {key.decode(): seq for key, seq in found}

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        with self._reading:
            return self._recent.read(seqs)

    def _firsts(self, seqs: Sequence[int]) -> dict[int, int | None]:
        return {seq: first for seq, first in self._link.rows(statements.FIRSTS, list(seqs))}

    def _rows(self, firsts: Sequence[int]) -> list[Row]:
        return self._link.rows(f"{statements.AT} WHERE first = ANY($1::bigint[]) ORDER BY first", list(firsts))

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        return scan(first, kinds, lambda after, limit: self._link.rows(statements.FROM, after, limit))

    def columns(self, first: int, last: int) -> Iterator[Entries]:
        return columns(first, last, lambda after, limit: self._link.rows(statements.FROM, after, limit))

    def last(self) -> int:
        return int(self._link.value("SELECT last FROM head"))

    def counts(self) -> Counts:
        return Counts(*self._link.rows("SELECT (SELECT coalesce(sum(count), 0)::bigint FROM segment), "
                                       "(SELECT count(*) FROM event), (SELECT count(*) FROM newest)")[0])

    def progress(self, source: str) -> int:
        return int(self._link.value("SELECT position FROM progress WHERE source = $1", source) or 0)

    def positions(self) -> dict[str, int]:
        return {source: position for source, position in self._link.rows("SELECT source, position FROM progress ORDER BY source")}

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        found = self._link.rows(f"SELECT {_HELD} FROM quarantine WHERE status = $1 AND id > $2 ORDER BY id LIMIT $3",
                                status, after, limit)
        return [Quarantined(source, position, arrived, reason, field.decode(), message.decode(), raw, id_, state, kind, table)
                for source, position, arrived, reason, field, message, raw, id_, state, kind, table in found]

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        found = self._link.rows("SELECT status, reason, count(*) FROM quarantine GROUP BY 1, 2 ORDER BY 1, 2")
        return {(status, reason): number for status, reason, number in found}

    def scrub(self) -> None:
        """Dead rows are cleared out. The server's own write-ahead log keeps them until it is recycled: see docs/privacy.md."""
        async def once(writer: asyncpg.Connection[Any], _: bool) -> None:
            for table in ("subject", "quarantine", "segment", "event", "newest"):
                await writer.execute(f"VACUUM {table}", timeout=LONG)
            await writer.execute("CHECKPOINT", timeout=LONG)

        self._link.write(once)

    def close(self) -> None:
        self._link.close()


async def _expire(writer: asyncpg.Connection[Any], block: Block) -> None:
    compressor = zstandard.ZstdCompressor(level=1)
    await writer.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # to pack a month anew takes a while
    for first, last in block.expired:
        rows = [tuple(row) for row in await writer.fetch(statements.WITHIN, first, last)]
        await writer.executemany("UPDATE segment SET kinds = $2, seal = $3, body = $4 WHERE first = $1",
                                 [(row[0], row[2], row[4], row[5]) for row in (without_records(r, compressor) for r in rows)])
        for start, stop in together(rows):
            for table in ("event", "newest"):
                await writer.execute(f"DELETE FROM {table} WHERE seq BETWEEN $1 AND $2", start, stop)


def _entries(block: Block, rows: list[Row]) -> list[Any]:
    entries = block.entries
    events = [(key.encode(), seq) for kind, key, seq in zip(entries.kinds, entries.keys, count(entries.first), strict=False)
              if kind in _EVENTS]
    return [entries.first, len(entries), [key for key, _ in events], [seq for _, seq in events],
            *([row[i] for row in rows] for i in range(6))]


def _others(block: Block) -> list[Any]:
    entries, held = block.entries, block.quarantined
    newest = {(kind, key.encode()): seq for kind, key, seq in zip(entries.kinds, entries.keys, count(entries.first), strict=False)
              if kind not in _EVENTS and kind != EXPIRED}
    return [[kind for kind, _ in newest], [key for _, key in newest], list(newest.values()),
            urandom(16), list(range(len(held))), [q.source for q in held], [q.position for q in held], [q.arrived for q in held],
            [q.reason for q in held], [q.field.encode() for q in held], [q.message.encode() for q in held],
            [q.raw for q in held], [q.kind for q in held], [q.table for q in held], [q.status for q in held],
            [id_ for id_, _ in block.settled], [status for _, status in block.settled]]


def _people(block: Block) -> list[Any]:
    return [*([row[i] for row in block.subjects] for i in range(4)), list(block.erased)]
