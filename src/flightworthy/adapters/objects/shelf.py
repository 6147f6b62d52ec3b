"""Named bytes in an object store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from flightworthy.ground.errors import AdapterError

T = TypeVar("T")
_ANSWER = timedelta(seconds=30)  # pieces may be large
_TRIES = timedelta(seconds=20)  # a snapshot may fail: the state is in the ledger


class ObjectShelf:
    """Each name is an object; a put is whole or not at all."""

    def __init__(self, bucket: str, prefix: str, endpoint: str, region: str) -> None:
        self.where, self._prefix = f"{bucket}/{prefix}", prefix
        more: dict[str, Any] = {"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else {}
        more |= {"region": region} if region else {}
        self._store = self._said(lambda: S3Store.from_url(
            bucket, client_options={"timeout": _ANSWER, "allow_http": endpoint.startswith("http://")},
            retry_config={"max_retries": 3, "retry_timeout": _TRIES}, **more))

    def get(self, name: str) -> bytes | None:
        try:
            return self._said(lambda: bytes(obstore.get(self._store, self._key(name)).bytes()))
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        self._said(lambda: obstore.put(self._store, self._key(name), content))

    def remove(self, names: Sequence[str]) -> None:
        if names:
            self._said(lambda: obstore.delete(self._store, [self._key(name) for name in names]))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _said(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except FileNotFoundError:
            raise
        except (BaseError, OSError, ValueError) as error:
            refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
            raise AdapterError(f"snapshots cannot be kept: {str(error).splitlines()[0]}", where=self.where, retryable=not refused,
                               next_step="see whether the store is there, and whether we may write to it") from error
