"""The embedded ledger: one SQLite file, write-ahead log, every commit flushed to the disk before it returns."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flightworthy.adapters.sqlite.segment import Segment, pack
from flightworthy.governance.ledger import DECISION, Block, Entry, Quarantined
from flightworthy.ground.errors import LedgerError

SCHEMA_VERSION = 1
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "wal_autocheckpoint=4000",
            "busy_timeout=5000", "trusted_schema=OFF")
_AT_ONCE = 8000  # variables per statement, well below SQLite's limit of 32766
_AT = "SELECT first, count, kinds, body, digests FROM segment "
_RECENT = 16  # segments kept unpacked for single reads, a megabyte or two each
_BUSY = ("locked", "busy", "interrupted", "full", "i/o")


class SqliteLedger:
    """One writer connection and one reader connection; both may be used from several threads."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.exists():
            raise LedgerError("there is no ledger here", where=str(path), next_step="run the pilot first")
        with _translated(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        with _translated(str(path)):
            self._writer = None if read_only else self._connect()
            if self._writer is not None:
                self._prepare(self._writer)
            self._reader = self._connect()
        version = self._reader.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise LedgerError("this ledger was written by another version", where=str(path), found=version,
                              expected=f"schema version {SCHEMA_VERSION}", next_step="use the matching release")
        self._recent: dict[int, Segment] = {}

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @staticmethod
    def _prepare(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _statements((Path(__file__).parent / "schema.sql").read_text()):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def commit(self, block: Block) -> None:
        if self._writer is None:
            raise LedgerError("this ledger was opened for reading only", where=str(self.path))
        with self._write_lock, _translated(str(self.path)):
            body = pack(block.entries) if block.entries else b""
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self._write(self._writer, block, body)
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    def _write(self, db: sqlite3.Connection, block: Block, body: bytes) -> None:
        if block.entries:
            self._write_entries(db, block.entries, body)
        db.executemany(
            "INSERT INTO quarantine (source, position, arrived, reason, field, message, raw) VALUES (?,?,?,?,?,?,?)",
            [(q.source, q.position, q.arrived, q.reason, q.field, q.message, q.raw) for q in block.quarantined])
        db.executemany("INSERT INTO progress VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET position = excluded.position",
                       list(block.progress.items()))
        db.executemany("UPDATE quarantine SET status = ? WHERE id = ?", [(status, id_) for id_, status in block.settled])

    def _write_entries(self, db: sqlite3.Connection, entries: Sequence[Entry], body: bytes) -> None:
        last = db.execute("SELECT last FROM head").fetchone()[0]
        if [e.seq for e in entries] != list(range(last + 1, last + 1 + len(entries))):
            raise LedgerError("entries do not continue the ledger", where=str(self.path), found=entries[0].seq,
                              expected=f"{last + 1}", next_step="another writer was here; recover and try again")
        kinds = json.dumps(sorted({e.kind for e in entries}))
        db.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?)",
                   (entries[0].seq, len(entries), kinds, body, b"".join(e.digest for e in entries)))
        ids = [x for e in entries if e.kind == DECISION for x in (e.key, e.seq)]
        # One statement for many rows: a single call into SQLite, so that other threads run meanwhile.
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            db.execute("INSERT INTO decision VALUES " + ",".join(["(?,?)"] * (len(part) // 2)), part)
        db.execute("UPDATE head SET last = ?", (entries[-1].seq,))

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        with self._read_lock, _translated(str(self.path)):
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                found.update(self._reader.execute(
                    f"SELECT event_id, seq FROM decision WHERE event_id IN ({marks})", part).fetchall())
        return found

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        with self._read_lock, _translated(str(self.path)):
            return [self._entry(seq) for seq in seqs]

    def _entry(self, seq: int) -> Entry:
        segment = next((s for s in self._recent.values() if s.first <= seq < s.first + s.count), None)
        if segment is None:
            row = self._reader.execute(_AT + "WHERE first <= ? ORDER BY first DESC LIMIT 1", (seq,)).fetchone()
            if row is None or seq >= row[0] + row[1]:
                raise LedgerError("no such entry", where=str(self.path), found=seq)
            segment = self._recent[row[0]] = Segment(*row)
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]
        return segment.entry(seq)

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        wanted, after = set(kinds), first
        while True:
            with self._read_lock, _translated(str(self.path)):
                row = self._reader.execute(_AT + "WHERE first <= ? ORDER BY first DESC LIMIT 1", (after,)).fetchone()
            if row is None or after >= row[0] + row[1]:
                return
            after = row[0] + row[1]
            if not wanted or wanted & set(json.loads(row[2])):
                yield from Segment(*row).entries(first, wanted)

    def last(self) -> int:
        return int(self._one("SELECT last FROM head"))

    def progress(self, source: str) -> int:
        return int(self._one("SELECT coalesce(max(position), 0) FROM progress WHERE source = ?", source))

    def _one(self, query: str, *values: Any) -> Any:
        with self._read_lock, _translated(str(self.path)):
            return self._reader.execute(query, values).fetchone()[0]

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        with self._read_lock, _translated(str(self.path)):
            rows = self._reader.execute(
                "SELECT source, position, arrived, reason, field, message, raw, id, status FROM quarantine "
                "WHERE status = ? AND id > ? ORDER BY id LIMIT ?", (status, after, limit)).fetchall()
        return [Quarantined(*row) for row in rows]

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        with self._read_lock, _translated(str(self.path)):
            rows = self._reader.execute(
                "SELECT status, reason, count(*) FROM quarantine GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
        return {(status, reason): count for status, reason, count in rows}

    def close(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()


def _statements(script: str) -> list[str]:
    bare = "\n".join(line.split("--")[0] for line in script.splitlines())
    return [s for s in (part.strip() for part in bare.split(";")) if s]


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """SQLite's errors in our words; those of a crowded or full disk may pass."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise LedgerError(f"a decision for this event id exists already ({error})", where=where,
                          next_step="recover: the ledger already holds the answer") from error
    except OSError as error:
        raise LedgerError(f"cannot open the ledger: {error}", where=where, next_step="check the path and permissions") from error
    except sqlite3.Error as error:
        raise LedgerError(f"SQLite: {error}", where=where, retryable=any(w in str(error).lower() for w in _BUSY),
                          next_step="check disk space and permissions") from error
