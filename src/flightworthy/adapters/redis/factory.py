"""Opens ``redis://host:port/database``: the feature state that several processes share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flightworthy.ground.errors import AdapterError
from flightworthy.ground.registry import missing_extra

if TYPE_CHECKING:
    from flightworthy.adapters.redis.entities import RedisEntities


def open_entities(url: str) -> RedisEntities:
    """``rediss://`` over TLS. A user may stand in the URL; the password comes from REDIS_PASSWORD. ``?prefix=``: before all keys.

    Raises `AdapterError` without the driver or with a password in the URL.
    """
    try:
        from flightworthy.adapters.redis.entities import RedisEntities
    except ImportError:
        raise missing_extra("redis", "redis", url) from None
    parts = urlsplit(url)
    if parts.password is not None:
        raise AdapterError("an address holds no password", where=parts.hostname or "",
                           expected="REDIS_PASSWORD in the environment")
    query = dict(parse_qsl(parts.query))
    prefix = query.pop("prefix", "flightworthy")
    return RedisEntities(urlunsplit(parts._replace(query=urlencode(query))), os.environ.get("REDIS_PASSWORD"), prefix)
