"""Moves what commits wrote ahead into the database file, beside the commits instead of within one of them: there it took some
ten milliseconds every second, and every decision that came meanwhile waited."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable

_EVERY = 0.5  # seconds, while there are commits: often enough that each time takes few milliseconds


class Checkpoints:
    """A thread that lives from the first commit to `close`. ``lock`` is held by whoever commits."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], lock: threading.Lock) -> None:
        self._connect, self._lock = connect, lock
        self._due, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Something was written ahead."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads now: the next commit tries again
                thread.start()
                self._thread = thread
        self._due.set()

    def close(self) -> None:
        """End the thread; what is still ahead stays there, durable all the same."""
        self._over.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._over.wait(_EVERY):
            self._due.wait()
            self._due.clear()
            # A disk that refuses now will refuse the next commit too, and that one is heard of; the log ahead only grows, and
            # SQLite itself moves it when it is long.
            with contextlib.suppress(sqlite3.Error):
                connection = connection or self._connect()
                self._move(connection)
        if connection is not None:
            connection.close()

    def _move(self, connection: sqlite3.Connection) -> None:
        """Nearly all of it while others commit, then the little that came meanwhile while nobody does: only a log of which
        nothing is left is written from its beginning again."""
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        with self._lock:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
