"""Keys of people in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from flightworthy.adapters.postgres.link import Link
from flightworthy.governance.privacy.store import Subject
from flightworthy.ground.errors import LedgerError

_ROWS = "SELECT tag, ref, wrapped, made FROM subject WHERE "


class PostgresSubjects:
    """Over the line of its ledger."""

    def __init__(self, link: Link, read_only: bool) -> None:
        self._link, self._read_only = link, read_only

    def find(self, tags: Sequence[bytes]) -> list[Subject]:
        return [Subject(*row) for row in self._link.rows(f"{_ROWS} tag = ANY($1::bytea[])", list(tags))]

    def known(self, refs: Sequence[bytes]) -> list[Subject]:
        return [Subject(*row) for row in self._link.rows(f"{_ROWS} ref = ANY($1::bytea[])", list(refs))]

    def page(self, after: bytes = b"", limit: int = 1000) -> list[Subject]:
        return [Subject(*row) for row in self._link.rows(f"{_ROWS} ref > $1 ORDER BY ref LIMIT $2", after, limit)]

    def rewrap(self, rows: Sequence[Subject]) -> None:
        if self._read_only:
            raise LedgerError("this ledger was opened for reading only", where=self._link.where)

        async def once(writer: asyncpg.Connection[Any], _: bool) -> None:
            await writer.execute("UPDATE subject SET wrapped = u.wrapped FROM unnest($1::bytea[], $2::bytea[]) "
                                 "AS u (ref, wrapped) WHERE subject.ref = u.ref",
                                 [row.ref for row in rows], [row.wrapped for row in rows])

        self._link.write(once)

    def count(self) -> int:
        return int(self._link.value("SELECT count(*) FROM subject"))
