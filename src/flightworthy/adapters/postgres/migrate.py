"""The schema, and how it comes to be: files of statements, applied in order, each once.

A migration never takes away what the release before it reads or writes, and never holds a lock longer than a moment; so old and
new code may run side by side, and nobody has to stop.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg

from flightworthy.adapters.postgres.link import Link
from flightworthy.ground.errors import LedgerError

_FOLDER = Path(__file__).parent / "migrations"
_APPLIED = """CREATE TABLE IF NOT EXISTS migration (
  number integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"""
_MIGRATING = 7_142_001  # an advisory lock: one at a time


def files() -> list[Path]:
    """The migrations, in order."""
    return sorted(_FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def up(link: Link) -> None:
    """Apply what is missing. A newer schema than this release knows is fine: it still has all that this one needs. Raises
    `LedgerError`, also when an applied migration is not the one that lies here."""
    async def once(writer: asyncpg.Connection[Any], _: bool) -> None:
        async with writer.transaction():
            await writer.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            await writer.execute("SET LOCAL lock_timeout = '2s'")  # rather try again than hold up a running service
            if not await writer.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", link.schema):
                await writer.execute(f'CREATE SCHEMA "{link.schema}"')
            await writer.execute(_APPLIED)
            applied = dict(await writer.fetch("SELECT number, digest FROM migration"))
            for number, file in enumerate(files(), 1):
                if number not in applied:
                    await writer.execute(file.read_text())
                    await writer.execute("INSERT INTO migration VALUES ($1, $2, $3)", number, file.stem, _digest(file))
                elif applied[number] != _digest(file):
                    raise LedgerError("this ledger's schema has another past than this release", where=link.where,
                                      found=f"migration {file.stem} with digest {applied[number][:12]}",
                                      expected=_digest(file)[:12], next_step="use the release that made it")

    link.write(once)


def check(link: Link) -> None:
    """Raise `LedgerError` where there is no ledger, or one that is older than this release."""
    if not link.value("SELECT to_regclass($1)::text", f'"{link.schema}".migration'):
        raise LedgerError("there is no ledger here", where=link.where, next_step="run the pilot first")
    if (found := link.value("SELECT max(number) FROM migration")) < len(files()):
        raise LedgerError("this ledger's schema is older than this release", where=link.where, found=found,
                          expected=f"{len(files())}", next_step="start a writer of this release once: it brings it up to date")


def _digest(file: Path) -> str:
    return sha256(re.sub(r"\s+", " ", file.read_text()).encode()).hexdigest()


class Months:
    """Makes partitions before they are needed: attaching one disturbs neither readers nor writers."""

    def __init__(self, link: Link) -> None:
        self._link, self._made = link, set[int]()

    def there(self, at: datetime) -> None:
        """See to it that this month (UTC) and the next have their partition."""
        month = at.year * 12 + at.month - 1
        if month in self._made:
            return
        self._link.write(lambda writer, _: self._make(writer, (month, month + 1)))
        self._made.add(month)

    async def _make(self, writer: asyncpg.Connection[Any], months: tuple[int, ...]) -> None:
        async with writer.transaction():
            await writer.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            for month in months:
                name = f"segment_{_start(month):%Y_%m}"
                if await writer.fetchval("SELECT to_regclass($1)", f'"{self._link.schema}".{name}'):
                    continue
                await writer.execute(f"CREATE TABLE {name} (LIKE segment INCLUDING ALL)")
                await writer.execute(f"ALTER TABLE segment ATTACH PARTITION {name} FOR VALUES FROM "
                                     f"('{_start(month).isoformat()}') TO ('{_start(month + 1).isoformat()}')")


def _start(month: int) -> datetime:
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
