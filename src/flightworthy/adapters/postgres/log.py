"""What the ledger in PostgreSQL keeps for its transparency log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg

from flightworthy.adapters.postgres.link import Link
from flightworthy.governance.log.store import Published, sealed
from flightworthy.ground.errors import LedgerError

_PAGE = 1000  # checkpoints read at once
_PUBLISHED = "SELECT size, number, note, seal FROM checkpoint "


class PostgresLog:
    """Over the line of its ledger."""

    def __init__(self, link: Link, read_only: bool) -> None:
        self._link, self._read_only = link, read_only

    def hashes(self, level: int, first: int, count: int) -> bytes:
        if level:
            rows = self._link.rows("SELECT hash FROM subtree WHERE level = $1 AND place >= $2 AND place < $3 ORDER BY place",
                                   level, first, first + count)
            found = b"".join(row[0] for row in rows)
        else:
            rows = self._link.rows(
                "SELECT first - 1, leaves FROM segment WHERE first >= coalesce((SELECT first FROM segment WHERE first <= $1 "
                "ORDER BY first DESC LIMIT 1), 0) AND first <= $2 ORDER BY first", first + 1, first + count)
            skipped = 32 * (first - rows[0][0]) if rows else 0
            found = b"".join(row[1] for row in rows)[skipped : skipped + 32 * count]
        if len(found) != 32 * count:
            raise LedgerError("the tree does not have these hashes", where=self._link.where,
                              found=f"{len(found) // 32} from {first} on at level {level}", expected=f"{count}")
        return found

    def publish(self, complete: Sequence[tuple[int, int, bytes]], published: Published) -> None:
        async def once(writer: asyncpg.Connection[Any], again: bool) -> None:
            if again and await writer.fetchval("SELECT note FROM checkpoint WHERE size = $1", published.size) == published.note:
                return  # a try whose acknowledgement was lost had succeeded
            async with writer.transaction():
                await writer.executemany("INSERT INTO subtree VALUES ($1, $2, $3)", complete)
                await writer.execute("INSERT INTO checkpoint VALUES ($1, $2, $3, $4)", *published, published.seal())

        self._open().write(once)

    def countersign(self, size: int, note: bytes) -> None:
        async def once(writer: asyncpg.Connection[Any], _: bool) -> None:
            async with writer.transaction():
                number = await writer.fetchval("SELECT number FROM checkpoint WHERE size = $1 FOR UPDATE", size)
                await writer.execute("UPDATE checkpoint SET note = $2, seal = $3 WHERE size = $1", size, note,
                                     Published(size, number, note).seal())

        self._open().write(once)

    def newest(self) -> Published | None:
        rows = self._link.rows(f"{_PUBLISHED} ORDER BY size DESC LIMIT 1")
        return sealed(tuple(rows[0]), self._link.where) if rows else None

    def checkpoints(self, after: int = 0) -> Iterator[Published]:
        while rows := self._link.rows(f"{_PUBLISHED} WHERE size > $1 ORDER BY size LIMIT {_PAGE}", after):
            yield from (sealed(tuple(row), self._link.where) for row in rows)
            after = rows[-1][0]

    def kept(self) -> int:
        return int(self._link.value("SELECT count(*) FROM subtree"))

    def _open(self) -> Link:
        if self._read_only:
            raise LedgerError("this ledger was opened for reading only", where=self._link.where)
        return self._link
