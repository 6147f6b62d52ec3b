"""Opens ``redis://host:port/database``: the feature state that several processes share, and snapshots of one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flightworthy.ground.errors import AdapterError
from flightworthy.ground.registry import missing_extra

if TYPE_CHECKING:
    from flightworthy.adapters.redis.entities import RedisEntities
    from flightworthy.adapters.redis.shelf import RedisShelf


def open_entities(url: str) -> RedisEntities:
    """``rediss://`` over TLS. A user may stand in the URL; the password comes from REDIS_PASSWORD. ``?prefix=``: before all keys.

    Raises `AdapterError` without the driver or with a password in the URL.
    """
    try:
        from flightworthy.adapters.redis.entities import RedisEntities
    except ImportError:
        raise missing_extra("redis", "redis", url) from None
    return RedisEntities(*_parts(url))


def open_shelf(url: str, **_: Any) -> RedisShelf:
    """The same addresses, for snapshots. Raises `AdapterError`."""
    try:
        from flightworthy.adapters.redis.shelf import RedisShelf
    except ImportError:
        raise missing_extra("redis", "redis", url) from None
    return RedisShelf(*_parts(url))


def _parts(url: str) -> tuple[str, str | None, str]:
    """The server's URL, the password, and what comes before all keys."""
    parts = urlsplit(url)
    if parts.password is not None:
        raise AdapterError("an address holds no password", where=parts.hostname or "",
                           expected="REDIS_PASSWORD in the environment")
    query = dict(parse_qsl(parts.query))
    prefix = query.pop("prefix", "flightworthy")
    return urlunsplit(parts._replace(query=urlencode(query))), os.environ.get("REDIS_PASSWORD"), prefix
