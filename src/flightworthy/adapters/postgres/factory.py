"""Opens ``postgresql://user@host:port/database?schema=NAME``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flightworthy.ground.errors import AdapterError
from flightworthy.ground.registry import missing_extra

if TYPE_CHECKING:
    from flightworthy.adapters.postgres.ledger import PostgresLedger

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


def open_ledger(url: str, base: Path | None = None, read_only: bool = False) -> PostgresLedger:
    """``schema`` (default ``flightworthy``) is this pilot's own; a shard puts ``_shard_N`` behind it. The password belongs into
    PGPASSWORD or ~/.pgpass, not into a manifest. All else in the query is passed to the server.

    Raises `AdapterError` without the driver or with a URL that cannot be read, `LedgerError` when the server does not answer.
    """
    try:
        from flightworthy.adapters.postgres.ledger import PostgresLedger
        from flightworthy.adapters.postgres.link import Link
    except ImportError:
        raise missing_extra("asyncpg", "postgres", _without_password(url)) from None
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = query.pop("schema", "flightworthy")
    if not _NAME.fullmatch(schema):
        raise AdapterError("the schema's name cannot be used", where=_without_password(url), found=schema,
                           expected="lower-case letters, digits and _, at most 41")
    if base is not None and base.name.startswith("shard-"):
        schema = f"{schema}_{base.name.replace('-', '_')}"
    address = urlunsplit(parts._replace(query=urlencode(query)))
    where = f"{_without_password(address)} schema {schema}"
    link = Link(address, schema, where)
    try:
        return PostgresLedger(link, read_only)
    except BaseException:
        link.close()
        raise


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{host[0].partition(':')[0]}{host[1]}{host[2]}", query=""))
