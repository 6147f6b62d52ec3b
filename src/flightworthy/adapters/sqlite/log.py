"""What the embedded ledger keeps for its transparency log. Leaf hashes lie with the entries; the levels above in a table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from flightworthy.adapters.sqlite.statements import transaction, translated
from flightworthy.governance.log.store import Published, sealed
from flightworthy.ground.errors import LedgerError

_PAGE = 1000  # checkpoints read at once
_PUBLISHED = "SELECT size, number, note, seal FROM checkpoint "


class SqliteLog:
    """Uses the connections of its ledger, and their locks."""

    def __init__(self, path: Path, reader: sqlite3.Connection, reading: Lock, writer: sqlite3.Connection | None,
                 writing: Lock) -> None:
        self._path, self._reader, self._reading, self._writer, self._writing = path, reader, reading, writer, writing

    def hashes(self, level: int, first: int, count: int) -> bytes:
        if level:
            rows = self._rows("SELECT hash FROM subtree WHERE level = ? AND place >= ? AND place < ? ORDER BY place",
                              level, first, first + count)
            found = b"".join(row[0] for row in rows)
        else:
            rows = self._rows("SELECT first - 1, leaves FROM segment WHERE first >= coalesce((SELECT max(first) FROM segment "
                              "WHERE first <= ?), 0) AND first <= ? ORDER BY first", first + 1, first + count)
            skipped = 32 * (first - rows[0][0]) if rows else 0
            found = b"".join(row[1] for row in rows)[skipped : skipped + 32 * count]
        if len(found) != 32 * count:
            raise LedgerError("the tree does not have these hashes", where=str(self._path),
                              found=f"{len(found) // 32} from {first} on at level {level}", expected=f"{count}")
        return found

    def publish(self, complete: Sequence[tuple[int, int, bytes]], published: Published) -> None:
        with self._writing, translated(str(self._path)), transaction(self._open()):
            self._open().executemany("INSERT INTO subtree VALUES (?, ?, ?)", complete)
            self._open().execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", (*published, published.seal()))

    def countersign(self, size: int, note: bytes) -> None:
        with self._writing, translated(str(self._path)), transaction(self._open()):
            number = self._open().execute("SELECT number FROM checkpoint WHERE size = ?", (size,)).fetchone()[0]
            self._open().execute("UPDATE checkpoint SET note = ?, seal = ? WHERE size = ?",
                                 (note, Published(size, number, note).seal(), size))

    def newest(self) -> Published | None:
        rows = self._rows(f"{_PUBLISHED} ORDER BY size DESC LIMIT 1")
        return sealed(rows[0], str(self._path)) if rows else None

    def checkpoints(self, after: int = 0) -> Iterator[Published]:
        while rows := self._rows(f"{_PUBLISHED} WHERE size > ? ORDER BY size LIMIT {_PAGE}", after):
            yield from (sealed(row, str(self._path)) for row in rows)
            after = rows[-1][0]

    def kept(self) -> int:
        return int(self._rows("SELECT count(*) FROM subtree")[0][0])

    def _rows(self, query: str, *values: int) -> list[tuple]:  # type: ignore[type-arg]
        with self._reading, translated(str(self._path)):
            return self._reader.execute(query, values).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._writer is None:
            raise LedgerError("this ledger was opened for reading only", where=str(self._path))
        return self._writer

