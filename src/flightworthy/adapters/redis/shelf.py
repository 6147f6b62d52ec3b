"""Named bytes in Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import redis
from flightworthy.ground.errors import AdapterError

T = TypeVar("T")
_ANSWER = 10.0  # seconds: pieces may be large


class RedisShelf:
    """Each name is a string."""

    def __init__(self, url: str, password: str | None, prefix: str) -> None:
        self._prefix, self.where = prefix, url
        self._client = redis.Redis.from_url(url, password=password, socket_timeout=_ANSWER, socket_connect_timeout=_ANSWER)

    def get(self, name: str) -> bytes | None:
        held: bytes | None = self._said(lambda: self._client.get(self._key(name)))
        return held

    def put(self, name: str, content: bytes) -> None:
        self._said(lambda: self._client.set(self._key(name), content))

    def remove(self, names: Sequence[str]) -> None:
        self._said(lambda: self._client.delete(*map(self._key, names)))

    def _key(self, name: str) -> str:
        return f"{self._prefix}:snapshot:{name}"

    def _said(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except redis.RedisError as error:
            raise AdapterError(f"snapshots cannot be kept: {error}", where=self.where, retryable=True,
                               next_step="see whether Redis runs, and has memory") from error
