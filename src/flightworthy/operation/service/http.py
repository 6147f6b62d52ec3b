"""HTTP/1.1 on asyncio, parsed by llhttp (httptools): as little as can stand between a socket and a decision.

Everything a caller can do wrong ends here: heads and bodies that are too large or too slow, ambiguous framing (refused by the
parser: a Content-Length beside a Transfer-Encoding, bare line feeds), pipelines without end, readers that do not read.
"""

from __future__ import annotations

import asyncio
import http
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import httptools

from flightworthy.operation.service.heads import Head, Heads
from flightworthy.operation.service.messages import JSON, PROBLEM, Limits, Request, head_of

_ONCE = (b"authorization", b"content-length", b"host")
_LINGER = 1.0  # seconds in which a refused caller may still send, unread
_PIPELINED = 32  # requests of one connection that may wait for the one before

Handler = Callable[[Request], None]


class Listener:
    """All connections of a port. ``handle`` gets each request once it is whole; it must `Connection.respond` some time, once."""

    def __init__(self, handle: Handler, limits: Limits) -> None:
        self.handle, self.limits = handle, limits
        self.connections: set[Connection] = set()
        self.heads = Heads()
        self.draining = False
        self.broken = 0  # requests that were no HTTP, or broke a limit of it

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    async def sweep(self) -> None:
        """Close what is too slow or idle too long; runs until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            now = monotonic()
            for connection in list(self.connections):
                connection.look(now)

    async def drain(self, notice: float, stop: Callable[[], Awaitable[None]], patience: float) -> None:
        """Answer whatever still comes for ``notice`` seconds, each answer asking its caller to go; ``stop`` accepting; then close
        what is idle and wait up to ``patience`` seconds for the rest."""
        self.draining = True
        until = monotonic() + notice
        while self.connections and monotonic() < until:
            await asyncio.sleep(0.02)
        await stop()
        await asyncio.sleep(_LINGER / 4)  # who has just connected is about to send
        for connection in list(self.connections):
            connection.close_if_idle()
        until = monotonic() + patience
        while self.connections and monotonic() < until:
            await asyncio.sleep(0.01)


class Connection(asyncio.Protocol):
    """One connection: requests are answered in the order in which they came, one at a time."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._limits = listener, listener.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._queue: deque[tuple[Request, bool]] = deque()
        self._keep = self._closing = self._busy = self._head_only = False
        self._over = False  # nothing more is said on this connection
        self._refusal = 0  # the status with which it ends once all that came before is answered
        self._seen = monotonic()
        self._came: tuple[Request, bool] | None = None  # of what is being parsed: the last request, and whether to keep on
        self._before = b""  # the head of the request before, where it came in one piece with its body
        self._begin()

    @property
    def draining(self) -> bool:
        """Whether the service is going down."""
        return self._listener.draining

    # -- in -----------------------------------------------------------------------------------------------------
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 18)
        self._listener.connections.add(self)
        if len(self._listener.connections) > self._limits.connections:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._listener.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._seen = monotonic()
        raw, end, body = data.partition(b"\r\n\r\n")
        if self._begun or not end:
            self._parse(data)
            self._came = None
            return
        known = self._listener.heads.find(raw)
        if known is not None and len(body) == known.length:
            self._take(Request(self, known.method, known.path, known.headers, body), True)
            return
        self._parse(data)
        came, self._came = self._came, None
        if came is not None and came[1] and came[0].body == body and not self._begun:  # one, and nothing more
            if raw == self._before:
                self._listener.heads.note(raw, Head(came[0].method, came[0].path, came[0].headers, len(body)))
            self._before = raw

    def _parse(self, data: bytes) -> None:
        if not self._headed:
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400)
            return
        if not self._headed and self._size > self._limits.head:
            self._refuse(431)

    def eof_received(self) -> bool:
        return False  # whoever stops speaking also stops listening

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    # -- what the parser calls ------------------------------------------------------------------------------------
    def _begin(self) -> None:
        self._url, self._headers, self._parts = b"", {}, []  # type: ignore[var-annotated]
        self._size = self._length = self._head = 0
        self._headed = self._begun = False

    def on_message_begin(self) -> None:
        self._begun = True

    # Heads are weighed twice: as they come, so that a slow one ends early, and when they end, where one came in one piece.
    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._head += len(name) + len(value)
        if name in self._headers and name in _ONCE:
            self._refuse(400)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._headed = True
        if self._head > self._limits.head:
            self._refuse(431)
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:12]) > self._limits.body:
            self._refuse(413)
        elif self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        if self._length > self._limits.body:
            self._refuse(413)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._closing:
            return
        path = self._url.partition(b"?")[0].decode("latin-1")
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        request = Request(self, self._parser.get_method().decode(), path, self._headers, body)
        keep = self._parser.should_keep_alive()
        self._came = request, keep
        self._begin()
        self._take(request, keep)

    def _take(self, request: Request, keep: bool) -> None:
        if self._busy or self._queue:
            self._queue.append((request, keep))
            if len(self._queue) == _PIPELINED:
                self._transport.pause_reading()
            elif len(self._queue) > 4 * _PIPELINED:  # all of them in what was read already
                self._refuse(400)
            return
        self._handle(request, keep)

    def _handle(self, request: Request, keep: bool) -> None:
        self._busy, self._keep, self._head_only = True, keep, request.method == "HEAD"
        self._listener.handle(request)

    # -- out ----------------------------------------------------------------------------------------------------
    def respond(self, status: int, body: bytes, kind: bytes = JSON, more: bytes = b"") -> None:
        """Answer the request under way. ``more``: further header lines, each ended by CR LF."""
        if self._over or self._transport.is_closing():
            return
        close = not self._keep or self._listener.draining
        self._transport.write(b"".join((head_of(status, kind), b"%d\r\n" % len(body), more,
                                        b"connection: close\r\n\r\n" if close else b"\r\n", b"" if self._head_only else body)))
        self._busy = False
        if close:
            self._closing = self._over = True
            self._transport.close()
        elif self._queue:
            if len(self._queue) == _PIPELINED:
                self._transport.resume_reading()
            # Not from within: a long pipeline of quick answers would nest as deep as it is long.
            asyncio.get_running_loop().call_soon(self._next)
        elif self._refusal:
            self._tell_refusal()

    def rest(self, seconds: float) -> None:
        """Read nothing more of this caller for a while: it was told to come again later."""
        if seconds > 0 and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._rested)

    def _rested(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _next(self) -> None:
        if self._queue and not self._busy and not self._over:
            self._handle(*self._queue.popleft())

    def _refuse(self, status: int) -> None:
        """What cannot be trusted to be HTTP is answered, after the requests before it, and its connection closed."""
        if self._closing:
            return
        self._closing, self._refusal = True, status
        self._listener.broken += 1
        if not (self._busy or self._queue):
            self._tell_refusal()

    def _tell_refusal(self) -> None:
        self._over, status = True, self._refusal
        phrase = http.HTTPStatus(status).phrase
        body = b'{"type":"about:blank","title":"%s","status":%d}' % (phrase.encode(), status)
        self._transport.write(b"".join((head_of(status, PROBLEM), b"%d\r\nconnection: close\r\n\r\n" % len(body), body)))
        # Closed at once, the caller, who still sends, would see a reset instead of the answer.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER, self._transport.close)

    def look(self, now: float) -> None:
        """Close this connection when its time is up."""
        waited = now - self._seen
        if self._begun and not self._closing and waited > self._limits.arrival:
            self._refuse(408)
        elif not self._busy and not self._begun and waited > self._limits.idle:
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close it unless a request is under way."""
        if not (self._busy or self._begun or self._queue):
            self._transport.close()
