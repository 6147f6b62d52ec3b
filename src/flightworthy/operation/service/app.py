"""The service as an ASGI application: routes, limits, who may call what, and problems as RFC 9457 says.

Raw ASGI, because a framework costs more than a decision does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import EVENT, OUTCOME
from flightworthy.ground.clock import SystemClock, iso
from flightworthy.ground.errors import FlightworthyError, LedgerError
from flightworthy.operation.service import keys as roles
from flightworthy.operation.service.answers import Problem, answer, encode, problem
from flightworthy.operation.service.batcher import Batcher, BusyError
from flightworthy.operation.service.keys import Key, Keys
from flightworthy.operation.service.metrics import Metrics
from flightworthy.operation.service.openapi import document

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_JSON, _PROBLEM, _TEXT = b"application/json", b"application/problem+json", b"text/plain; version=0.0.4; charset=utf-8"
_log = logging.getLogger("flightworthy.service")
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Limits:
    """``body`` bytes of a request, ``records`` in it, ``deadline`` seconds until it is answered."""

    body: int = 1 << 20
    records: int = 1000
    deadline: float = 5.0


class Switch(msgspec.Struct, forbid_unknown_fields=True):
    """A request to turn the kill switch."""

    on: bool
    why: str


@dataclass(frozen=True)
class Reply:
    """A response: status, bytes, their kind."""

    status: int
    body: bytes
    kind: bytes = _JSON
    retry: bool = False


Handler = Callable[[bytes, Key | None], Awaitable[Reply]]


class RefusedError(Exception):
    """Ends a request with a problem."""

    def __init__(self, said: Problem) -> None:
        super().__init__(said.title)
        self.said = said


class App:
    """One pilot behind HTTP. ``keys`` None: whoever reaches it may call everything (loopback only)."""

    def __init__(self, engine: Engine, batcher: Batcher, metrics: Metrics, keys: Keys | None, limits: Limits) -> None:
        self.engine, self.batcher, self.metrics, self.keys, self.limits = engine, batcher, metrics, keys, limits
        self.pilot, self.clock = engine.pilot, SystemClock()
        self.openapi = encode(document(self.pilot))
        self._sample = engine.line.chain.models["champion"].references[None, :]
        self._expected = self._ask_sample()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.routes: dict[tuple[str, str], tuple[str | None, Handler]] = {
            ("POST", "/v1/decisions"): (roles.DECIDE, self.decide), ("POST", "/v1/outcomes"): (roles.OBSERVE, self.observe),
            ("GET", "/v1/kill-switch"): (roles.OPERATE, self.switch), ("PUT", "/v1/kill-switch"): (roles.OPERATE, self.turn),
            ("GET", "/metrics"): (roles.OPERATE, self.count), ("GET", "/health/live"): (None, self.live),
            ("GET", "/health/ready"): (None, self.ready), ("GET", "/openapi.json"): (None, self.describe)}
        self._paths = {path for _, path in self.routes}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        started = perf_counter()
        path: str = scope["path"]
        try:
            reply = await self._reply(scope, receive)
        except RefusedError as refused:
            reply = _said(refused.said)
        except Exception:  # noqa: BLE001 - a mistake of ours: the caller gets an answer, the log the trace
            _log.exception("a request failed unexpectedly: %s %s", scope["method"], path[:200])
            reply = _said(problem(500, "internal", "the service made a mistake; it is in its log", retry=True,
                                  next_step="send the same event again: an id is decided once"))
        route = path if path in self._paths else "other"
        self.metrics.request_done(route, reply.status, perf_counter() - started)
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body))]
        if reply.retry:
            headers.append((b"retry-after", b"1"))
        if reply.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: dict[str, Any], receive: Receive) -> Reply:
        found = self.routes.get((scope["method"], scope["path"]))
        if found is None:
            if scope["path"] in self._paths:
                raise RefusedError(problem(405, "method", "this path is not asked that way", scope["method"]))
            raise RefusedError(problem(404, "path", "there is nothing here", scope["path"][:200], next_step="see /openapi.json"))
        role, handler = found
        key = self._who(scope, role) if role is not None else None
        return await handler(await self._body(receive), key)

    def _who(self, scope: dict[str, Any], role: str) -> Key | None:
        if self.keys is None:
            return None
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, text = given.decode("latin-1").partition(" ")
        key = self.keys.who(text.strip(), self.clock.now()) if scheme.lower() == "bearer" else None
        if key is None:
            raise RefusedError(problem(401, "key", "a valid key is needed", next_step="send Authorization: Bearer fw_…"))
        if role not in key.roles:
            raise RefusedError(problem(403, "role", f"this key may not do that; it needs the role '{role}'"))
        return key

    async def _body(self, receive: Receive) -> bytes:
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(problem(400, "disconnect", "the request was not sent to its end"))
            body += message.get("body", b"")
            if len(body) > self.limits.body:
                raise RefusedError(problem(413, "too_large", f"a request has at most {self.limits.body} bytes"))
            if not message.get("more_body", False):
                return body

    # -- routes -------------------------------------------------------------------------------------------------
    async def decide(self, body: bytes, _: Key | None) -> Reply:
        """One event, or an array of them."""
        return await self._process(body, EVENT)

    async def observe(self, body: bytes, _: Key | None) -> Reply:
        """One outcome, or an array of them."""
        return await self._process(body, OUTCOME)

    async def _process(self, body: bytes, kind: int) -> Reply:
        text = body.strip()
        many = text.startswith(b"[")
        raws = self._split(text) if many else [text]
        if not raws:
            return Reply(200, b"[]")
        try:
            results = await self._durable(raws, kind)
        except BusyError as error:
            raise RefusedError(problem(503, "busy", error.what, next_step=error.next_step, retry=True)) from None
        except TimeoutError:
            raise RefusedError(problem(503, "deadline", f"not durable within {self.limits.deadline} s",
                                       next_step="send the same event again: an id is decided once", retry=True)) from None
        except LedgerError as error:
            raise RefusedError(problem(503, "ledger", "the decision could not be made durable", error.what,
                                       next_step="send the same event again", retry=True)) from None
        made = [answer(result, self.pilot.outputs) for result in results]
        if many:
            return Reply(200, encode(made))
        return _said(made[0]) if isinstance(made[0], Problem) else Reply(200, encode(made[0]))

    async def _durable(self, raws: list[bytes], kind: int) -> list[Any]:
        """The results. Raises what the engine raised, `BusyError`, or `TimeoutError`."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self.batcher.hand_over = loop.call_soon_threadsafe
        done: asyncio.Future[list[Any]] = loop.create_future()
        timer = loop.call_later(self.limits.deadline, _expire, done)
        try:
            found: list[Any] = await self.batcher.submit(raws, kind, done)
        finally:
            timer.cancel()
        return found

    def _split(self, body: bytes) -> list[bytes]:
        try:
            raws = [bytes(raw) for raw in _RAWS.decode(body)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError(problem(400, "malformed", "the body is not a JSON array", str(error))) from None
        if len(raws) > self.limits.records:
            raise RefusedError(problem(413, "too_many", f"a request has at most {self.limits.records} records"))
        return raws

    async def switch(self, _: bytes, __: Key | None) -> Reply:
        """Whether the kill switch is on."""
        return Reply(200, encode({"on": self.engine.killed}))

    async def turn(self, body: bytes, key: Key | None) -> Reply:
        """Turn the kill switch; durable, with who and why, before it is answered."""
        try:
            asked = msgspec.json.decode(body, type=Switch)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError(problem(400, "malformed", 'expected {"on": true or false, "why": "…"}', str(error))) from None
        who = "loopback" if key is None else f"key {key.id}"
        try:
            act = await asyncio.wrap_future(self.batcher.run(lambda engine: engine.kill(asked.on, who, asked.why[:500])))
        except FlightworthyError as error:
            raise RefusedError(problem(503, "ledger", "the switch could not be turned", str(error), retry=True)) from None
        self.metrics.killed.set(asked.on)
        return Reply(200, encode({"on": asked.on, "entry": act.seq, "who": who, "at": iso(act.arrived)}))

    async def count(self, _: bytes, __: Key | None) -> Reply:
        """Metrics."""
        self.metrics.waiting.set(self.batcher.waiting)
        self.metrics.killed.set(self.engine.killed)
        return Reply(200, self.metrics.text(), _TEXT)

    async def live(self, _: bytes, __: Key | None) -> Reply:
        """Whether the process is worth keeping."""
        return Reply(200, b'{"live":true}')

    async def ready(self, _: bytes, __: Key | None) -> Reply:
        """Whether it would decide correctly now: the engine takes requests, the ledger answered last, and the champion
        gives the bits it gave at the start."""
        if not self.batcher.alive:
            raise RefusedError(problem(503, "not_ready", "the service is going down", retry=True))
        if self.batcher.failed is not None:
            raise RefusedError(problem(503, "not_ready", "the last batch failed", str(self.batcher.failed), retry=True))
        if self._ask_sample() != self._expected:
            raise RefusedError(problem(503, "not_ready", "the champion no longer gives the same bits"))
        return Reply(200, encode({"ready": True, "kill_switch": self.engine.killed}))

    async def describe(self, _: bytes, __: Key | None) -> Reply:
        """OpenAPI 3.1."""
        return Reply(200, self.openapi)

    def _ask_sample(self) -> bytes:
        answer: bytes = self.engine.line.chain.models["champion"].predict(self._sample).tobytes()
        return answer


def _expire(done: asyncio.Future[Any]) -> None:
    if not done.done():
        done.set_exception(TimeoutError())


def _said(said: Problem) -> Reply:
    return Reply(said.status, encode(said), _PROBLEM, said.retry)
