"""Keys of people in the embedded ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from threading import Lock

from flightworthy.adapters.sqlite.statements import transaction, translated
from flightworthy.governance.privacy.store import Subject
from flightworthy.ground.errors import LedgerError

_AT_ONCE = 4096


class SqliteSubjects:
    """Uses the connections of its ledger, and their locks."""

    def __init__(self, where: str, reader: sqlite3.Connection, reading: Lock, writer: sqlite3.Connection | None,
                 writing: Lock) -> None:
        self._where, self._reader, self._reading, self._writer, self._writing = where, reader, reading, writer, writing

    def find(self, tags: Sequence[bytes]) -> list[Subject]:
        return self._those("tag", tags)

    def known(self, refs: Sequence[bytes]) -> list[Subject]:
        return self._those("ref", refs)

    def _those(self, column: str, values: Sequence[bytes]) -> list[Subject]:
        found: list[Subject] = []
        with self._reading, translated(self._where):
            for start in range(0, len(values), _AT_ONCE):
                part = values[start : start + _AT_ONCE]
                rows = self._reader.execute(f"SELECT tag, ref, wrapped, made FROM subject WHERE {column} IN "
                                            f"({','.join('?' * len(part))})", part).fetchall()
                found += [Subject(*row) for row in rows]
        return found

    def page(self, after: bytes = b"", limit: int = 1000) -> list[Subject]:
        with self._reading, translated(self._where):
            rows = self._reader.execute("SELECT tag, ref, wrapped, made FROM subject WHERE ref > ? ORDER BY ref LIMIT ?",
                                        (after, limit)).fetchall()
        return [Subject(*row) for row in rows]

    def rewrap(self, rows: Sequence[Subject]) -> None:
        if self._writer is None:
            raise LedgerError("this ledger was opened for reading only", where=self._where)
        with self._writing, translated(self._where), transaction(self._writer):
            self._writer.executemany("UPDATE subject SET wrapped = ? WHERE ref = ?", [(row.wrapped, row.ref) for row in rows])

    def count(self) -> int:
        with self._reading, translated(self._where):
            return int(self._reader.execute("SELECT count(*) FROM subject").fetchone()[0])
