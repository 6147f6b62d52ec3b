"""What all that speaks to SQLite shares."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from flightworthy.ground.errors import LedgerError

_BUSY = ("locked", "busy", "interrupted", "full", "i/o")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it, flushed to the disk, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
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
