"""Opens ``sqlite:///path`` (relative paths start at ``base``): ledgers, and what a witness has seen."""

from __future__ import annotations

from pathlib import Path

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.adapters.sqlite.seen import SqliteSeen


def open_ledger(url: str, base: Path | None = None, read_only: bool = False) -> SqliteLedger:
    """``sqlite:///ledger.db`` is relative to ``base``, ``sqlite:////var/ledger.db`` absolute.

    Raises `LedgerError` when the file cannot be opened or was written by another version of the schema.
    """
    path = Path(url.removeprefix("sqlite:///"))
    return SqliteLedger((base or Path()) / path, read_only=read_only)


def open_seen(url: str, base: Path | None = None) -> SqliteSeen:
    """What a witness has seen. Raises `LedgerError` when the file cannot be opened."""
    return SqliteSeen((base or Path()) / url.removeprefix("sqlite:///"))
