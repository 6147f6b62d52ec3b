"""What the listener hands on and what it is handed: requests that have come whole, and replies."""

from __future__ import annotations

import http
from dataclasses import dataclass
from functools import cache
from time import monotonic_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flightworthy.operation.service.http import Connection

JSON, PROBLEM, TEXT = b"application/json", b"application/problem+json", b"text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Limits:
    """Bytes of a head and of a body; seconds until a request has come whole, and that a connection may be idle; connections."""

    head: int = 16_384
    body: int = 1 << 20
    arrival: float = 10.0
    idle: float = 75.0
    connections: int = 10_000


class Request:
    """A request that has come whole. ``started``: monotonic nanoseconds."""

    __slots__ = ("body", "connection", "headers", "method", "path", "started")

    def __init__(self, connection: Connection, method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self.connection, self.method, self.path, self.headers, self.body = connection, method, path, headers, body
        self.started = monotonic_ns()


@dataclass(frozen=True)
class Reply:
    """A response: status, bytes, their kind, further header lines, each ended by CR LF."""

    status: int
    body: bytes
    kind: bytes = JSON
    more: bytes = b""


@cache
def head_of(status: int, kind: bytes) -> bytes:
    """A response's bytes as far as the number of its body's."""
    phrase = http.HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\nx-content-type-options: nosniff\r\ncontent-length: " % (status, phrase, kind)
