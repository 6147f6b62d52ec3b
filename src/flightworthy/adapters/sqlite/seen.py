"""What a witness saw, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from flightworthy.adapters.sqlite.statements import transaction, translated
from flightworthy.governance.log.witness import Latest


class SqliteSeen:
    """Durable before a signature leaves."""

    def __init__(self, path: Path) -> None:
        """Raises `LedgerError` when the file cannot be opened."""
        self._path, self._lock = path, Lock()
        with translated(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("CREATE TABLE IF NOT EXISTS seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, "
                             "root BLOB NOT NULL) STRICT, WITHOUT ROWID")

    @contextmanager
    def held(self, origin: str) -> Iterator[Latest]:
        with self._lock, translated(str(self._path)), transaction(self._db):
            found = self._db.execute("SELECT size, root FROM seen WHERE origin = ?", (origin,)).fetchone()
            latest = Latest(*found) if found else Latest(0, b"")
            before = latest.size, latest.root
            yield latest
            if (latest.size, latest.root) != before:
                self._db.execute("INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size, "
                                 "root = excluded.root", (origin, latest.size, latest.root))

    def close(self) -> None:
        """Release the file."""
        self._db.close()
