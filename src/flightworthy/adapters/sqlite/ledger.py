"""The embedded ledger: one SQLite file, write-ahead log, every commit flushed to the disk before it returns."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import zstandard

from flightworthy.adapters.sqlite.checkpoints import Checkpoints
from flightworthy.adapters.sqlite.log import SqliteLog
from flightworthy.adapters.sqlite.statements import transaction, translated
from flightworthy.adapters.sqlite.subjects import SqliteSubjects
from flightworthy.governance.ledger import DECISION, ERASED, EXPIRED, HISTORY, Block, Counts, Entries, Entry, Quarantined
from flightworthy.governance.reading import Recent, columns, scan
from flightworthy.governance.segment import Row, rows_of, together, without_records
from flightworthy.ground.errors import LedgerError

SCHEMA_VERSION = 4
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=32000",
            "busy_timeout=5000", "trusted_schema=OFF", "secure_delete=ON")
_WRITER_CACHE, _READER_CACHE = 65_536, 16_384  # KiB; what a reader looks for is in the system's cache as well
_AT_ONCE = 4096  # rows per statement; SQLite allows 32766 variables
_AT = "SELECT first, count, kinds, leaves, seal, body FROM segment "
_EVENTS = {DECISION, HISTORY}


class SqliteLedger:
    """One writer connection and one reader connection; both may be used from several threads."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.exists():
            raise LedgerError("there is no ledger here", where=str(path), next_step="run the pilot first")
        with translated(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        with translated(str(path)):
            self._writer = None if read_only else self._connect(_WRITER_CACHE)
            if self._writer is not None:
                self._prepare(self._writer)
            self._reader = self._connect(_READER_CACHE)
        version = self._reader.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise LedgerError("this ledger was written by another version", where=str(path), found=version,
                              expected=f"schema version {SCHEMA_VERSION}",
                              next_step="use the matching release; the version before is brought up to date by the first writer")
        self._recent = Recent(str(path), self._firsts, self._rows)
        self.log = SqliteLog(path, self._reader, self._read_lock, self._writer, self._write_lock)
        self.subjects = SqliteSubjects(str(path), self._reader, self._read_lock, self._writer, self._write_lock)
        self._checkpoints = Checkpoints(lambda: self._connect(_READER_CACHE), self._write_lock)

    def _connect(self, cache: int) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for pragma in (*_PRAGMAS, f"cache_size=-{cache}"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @staticmethod
    def _prepare(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _statements(_SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION - 1:
            connection.execute(_table("subject"))
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def commit(self, block: Block) -> None:
        if self._writer is None:
            raise LedgerError("this ledger was opened for reading only", where=str(self.path))
        with self._write_lock, translated(str(self.path)):
            rows = rows_of(block.entries, self._compressor)  # the long part, before the database is locked
            with transaction(self._writer):
                self._write(self._writer, block, rows)
            self._checkpoints.committed()
        if block.expired:
            with self._read_lock:
                self._recent.forget()

    def turn(self, patience: float = 30.0) -> AbstractContextManager[int | None]:
        return nullcontext()

    def _write(self, db: sqlite3.Connection, block: Block, rows: list[Row]) -> None:
        if block.entries:
            self._write_entries(db, block.entries)
            self._insert(db, "segment", list(chain.from_iterable(rows)), 6)
        if block.subjects or block.erased or block.expired:
            self._write_privacy(db, block)
        if not (block.quarantined or block.progress or block.settled):
            return
        db.executemany(
            "INSERT INTO quarantine (source, position, arrived, reason, field, message, raw, kind, tabular, status) "
            "VALUES (?,?,?,?,?,?,?,?,?,?)",
            [(q.source, q.position, q.arrived, q.reason, q.field, q.message, q.raw, q.kind, q.table, q.status)
             for q in block.quarantined])
        db.executemany("INSERT INTO progress VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET position = excluded.position",
                       list(block.progress.items()))
        db.executemany("UPDATE quarantine SET status = ? WHERE id = ?", [(status, id_) for id_, status in block.settled])
        db.executemany("UPDATE quarantine SET raw = x'' WHERE id = ?", [(i,) for i, status in block.settled if status == ERASED])

    def _write_privacy(self, db: sqlite3.Connection, block: Block) -> None:
        db.executemany("INSERT INTO subject VALUES (?, ?, ?, ?)", block.subjects)
        db.executemany("DELETE FROM subject WHERE ref = ?", [(ref,) for ref in block.erased])
        for first, last in block.expired:
            rows = db.execute(f"{_AT}WHERE first >= ? AND first + count - 1 <= ? AND kinds NOT LIKE '%\"act\"%' "
                              f"AND kinds NOT LIKE '%\"{EXPIRED}\"%' ORDER BY first", (first, last)).fetchall()
            db.executemany("UPDATE segment SET kinds = ?, seal = ?, body = ? WHERE first = ?",
                           [(row[2], row[4], row[5], row[0]) for row in (without_records(r, self._compressor) for r in rows)])
            for start, stop in together(rows):
                db.execute("DELETE FROM event WHERE seq BETWEEN ? AND ?", (start, stop))
                db.execute("DELETE FROM newest WHERE seq BETWEEN ? AND ?", (start, stop))

    def _write_entries(self, db: sqlite3.Connection, entries: Entries) -> None:
        last = db.execute("SELECT last FROM head").fetchone()[0]
        if entries.first != last + 1:
            raise LedgerError("entries do not continue the ledger", where=str(self.path), found=entries.first,
                              expected=f"{last + 1}", next_step="another writer was here; recover and try again")
        numbered = zip(entries.keys, range(entries.first, entries.first + len(entries)), strict=True)
        if set(entries.kinds) <= _EVENTS:
            self._insert(db, "event", list(chain.from_iterable(numbered)), 2)
        else:
            pairs = list(zip(entries.kinds, numbered, strict=True))
            self._insert(db, "event", [x for kind, pair in pairs if kind in _EVENTS for x in pair], 2)
            others = [x for kind, pair in pairs if kind not in _EVENTS and kind != EXPIRED for x in (kind, *pair)]
            self._insert(db, "newest", others, 3, " ON CONFLICT DO UPDATE SET seq = excluded.seq")
        db.execute("UPDATE head SET last = ?", (last + len(entries),))

    @staticmethod
    def _insert(db: sqlite3.Connection, table: str, values: list[Any], width: int, otherwise: str = "") -> None:
        # One statement for many rows: a single call into SQLite, so that other threads run meanwhile.
        row, start = f"({','.join('?' * width)})", 0
        for rows in _halves(len(values) // width):
            end = start + rows * width
            db.execute(f"INSERT INTO {table} VALUES {','.join([row] * rows)}{otherwise}", values[start:end])
            start = end

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        return self._look_up("SELECT id, seq FROM event WHERE id IN", (), keys)

    def events(self, first: int, last: int) -> Iterator[Sequence[tuple[str, int]]]:
        beyond, after = ">=", ""
        while pairs := self._all(f"SELECT id, seq FROM event WHERE id {beyond} ? AND seq BETWEEN ? AND ? ORDER BY id LIMIT ?",
                                 after, first, last, _AT_ONCE):
            yield pairs
            beyond, after = ">", pairs[-1][0]

    def newest(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        return self._look_up("SELECT key, seq FROM newest WHERE kind = ? AND key IN", (kind,), keys)

    def _look_up(self, query: str, given: tuple[str, ...], keys: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        with self._read_lock, translated(str(self.path)):
            for start in range(0, len(keys), _AT_ONCE):
                part = list(keys[start : start + _AT_ONCE])
                part += part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))  # once more: nothing is found twice
                found.update(self._reader.execute(f"{query} ({','.join('?' * len(part))})", (*given, *part)).fetchall())
        return found

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        with self._read_lock, translated(str(self.path)):
            return self._recent.read(seqs)

    def _firsts(self, seqs: Sequence[int]) -> dict[int, int | None]:
        return dict(self._reader.execute("SELECT value, (SELECT max(first) FROM segment WHERE first <= value) FROM json_each(?)",
                                         (json.dumps(list(seqs)),)).fetchall())

    def _rows(self, firsts: Sequence[int]) -> list[Row]:
        marks = ",".join("?" * len(firsts))
        return self._reader.execute(f"{_AT}WHERE first IN ({marks}) ORDER BY first", firsts).fetchall()

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        return scan(first, kinds, self._rows_from)

    def columns(self, first: int, last: int) -> Iterator[Entries]:
        return columns(first, last, self._rows_from)

    def _rows_from(self, first: int, limit: int) -> list[Row]:
        return self._all(f"{_AT}WHERE first >= coalesce((SELECT max(first) FROM segment WHERE first <= ?), 0) "
                         "ORDER BY first LIMIT ?", first, limit)

    def last(self) -> int:
        return int(self._one("SELECT last FROM head"))

    def counts(self) -> Counts:
        return Counts(*(int(self._one(f"SELECT {what}")) for what in (
            "coalesce(sum(count), 0) FROM segment", "count(*) FROM event", "count(*) FROM newest")))

    def progress(self, source: str) -> int:
        return int(self._one("SELECT coalesce(max(position), 0) FROM progress WHERE source = ?", source))

    def positions(self) -> dict[str, int]:
        return dict(self._all("SELECT source, position FROM progress ORDER BY source"))

    def _one(self, query: str, *values: Any) -> Any:
        return self._all(query, *values)[0][0]

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._read_lock, translated(str(self.path)):
            return self._reader.execute(query, values).fetchall()

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        rows = self._all("SELECT source, position, arrived, reason, field, message, raw, id, status, kind, tabular "
                         "FROM quarantine WHERE status = ? AND id > ? ORDER BY id LIMIT ?", status, after, limit)
        return [Quarantined(*(*row[:-1], bool(row[-1]))) for row in rows]

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        rows = self._all("SELECT status, reason, count(*) FROM quarantine GROUP BY 1, 2 ORDER BY 1, 2")
        return {(status, reason): count for status, reason, count in rows}

    def scrub(self) -> None:
        if self._writer is not None:
            with self._read_lock, self._write_lock, translated(str(self.path)):
                # What is deleted is overwritten (secure_delete); the log ahead holds older pages until it is cut off.
                if self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise LedgerError("another process reads the ledger: what was written ahead stays", where=str(self.path),
                                      next_step="end what reads it, and scrub again", retryable=True)

    def close(self) -> None:
        self._checkpoints.close()
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()


def _halves(rows: int) -> Iterator[int]:
    """Powers of two that add up to a number of rows. A dozen statements then serve batches of all sizes, each compiled once; to
    compile one for the very size of a batch costs more than to run it."""
    while rows:
        part = min(_AT_ONCE, 1 << (rows.bit_length() - 1))
        yield part
        rows -= part


_SCHEMA = (Path(__file__).parent / "schema.sql").read_text()


def _table(name: str) -> str:
    return next(s for s in _statements(_SCHEMA) if s.startswith(f"CREATE TABLE {name} "))


def _statements(script: str) -> list[str]:
    bare = "\n".join(line.split("--")[0] for line in script.splitlines())
    return [s for s in (part.strip() for part in bare.split(";")) if s]
