"""The routes of the service: who may call what, and what becomes of it.

Decisions and outcomes are handled without a task of their own: a request is taken to the desk and answered when its bytes
come back. Everything else is rare and runs as a coroutine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from flightworthy.decision.course import ABORT, START, Course, target
from flightworthy.decision.people import ACTS
from flightworthy.decision.rollout import check, describe
from flightworthy.ground.clock import Clock
from flightworthy.ground.errors import DataError
from flightworthy.operation.service import keys as roles
from flightworthy.operation.service import wire
from flightworthy.operation.service.answers import Problem, encode, problem
from flightworthy.operation.service.callers import Caller, Callers, Rates, Refusals
from flightworthy.operation.service.desk import Desk
from flightworthy.operation.service.errands import APPROVE, Plea, Renew, Roll, Stands, Turn
from flightworthy.operation.service.inference import Inference
from flightworthy.operation.service.links import BusyError
from flightworthy.operation.service.logs import trace
from flightworthy.operation.service.messages import PROBLEM, TEXT, Reply, Request
from flightworthy.operation.service.metrics import Metrics
from flightworthy.operation.service.openapi import document
from flightworthy.operation.service.published import PREFIX, Published
from flightworthy.operation.service.tracing import Tracing

_log = logging.getLogger("flightworthy.service")
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_OWNER = Caller("loopback", frozenset(roles.ROLES))
_CONTROL, _LONG = 30.0, 3600.0  # seconds for what an operator asks; features that are others are rebuilt from the whole ledger
MOST = 1000  # records of a request
# Made once: it is said most when there is least time.
_BUSY = Reply(503, encode(problem(503, "busy", "too many records wait", next_step="send it again later, more slowly",
                                  retry=True)), PROBLEM, b"retry-after: 1\r\n")


LONGEST_WHY = 2000  # of an act


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """A request to take a step of a rollout; ``model``: of a start, the beginning of the challenger's digest; ``rollout``: the
    one that is meant, 0: whichever is under way; ``stage``: where it is meant to stand, counted from 1, 0: wherever it does."""

    step: str
    why: str
    model: str = ""
    rollout: int = 0
    stage: int = 0


class Approval(msgspec.Struct, forbid_unknown_fields=True):
    """A request to approve of a rollout."""

    rollout: int
    why: str


class Switch(msgspec.Struct, forbid_unknown_fields=True):
    """A request to turn the kill switch."""

    on: bool
    why: str


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A request to reload."""

    why: str


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """Something for people."""

    act: str
    names: list[str]
    why: str


class RefusedError(Exception):
    """Ends a request with a problem; ``more``: header lines."""

    def __init__(self, said: Problem, more: bytes = b"") -> None:
        super().__init__(said.title)
        self.said, self.more = said, more


Handler = Callable[[Request, Caller], Awaitable[Reply]]


class App:
    """One pilot behind HTTP. ``callers`` None: whoever reaches it may call everything (loopback only)."""

    def __init__(self, desk: Desk, metrics: Metrics, callers: Callers | None, clock: Clock, published: Published,
                 reloaded: Callable[[], None]) -> None:
        self.desk, self.metrics, self.callers, self.clock, self._reloaded = desk, metrics, callers, clock, reloaded
        self._published = published
        self.tracing = Tracing.configured()
        # Two: the kill switch does not wait for a reload, which may take long.
        self._turning, self._renewing, self._refusals = asyncio.Lock(), asyncio.Lock(), Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self.use()

    def use(self) -> None:
        """Take over what the manifest says; again after a reload."""
        pilot, rate = self.desk.pilot, self.desk.service.rate
        self.openapi, self.inference = encode(document(pilot)), Inference(self.desk)
        self._rates = Rates(rate, max(rate, MOST)) if rate else None
        self.records = {"/v1/decisions": (roles.DECIDE, wire.EVENT), "/v1/outcomes": (roles.OBSERVE, wire.OUTCOME)}
        self.routes: dict[tuple[str, str], tuple[str | None, Handler]] = {
            ("GET", "/v1/kill-switch"): (roles.OPERATE, self.switch), ("PUT", "/v1/kill-switch"): (roles.OPERATE, self.turn),
            ("GET", "/v1/rollout"): (roles.OPERATE, self.rollout), ("PUT", "/v1/rollout"): (roles.OPERATE, self.roll),
            ("POST", "/v1/rollout/approvals"): (roles.APPROVE, self.approve),
            ("POST", "/v1/people"): (roles.OPERATE, self.people), ("POST", "/v1/reload"): (roles.OPERATE, self.reload),
            ("GET", "/v1/shards"): (roles.OPERATE, self.shards),
            ("GET", "/metrics"): (roles.OPERATE, self.count), ("GET", "/health/live"): (None, self.live),
            ("GET", "/health/ready"): (None, self.ready), ("GET", "/openapi.json"): (None, self.describe),
            **self.inference.routes(self)}
        self.paths = {path for _, path in self.routes} | set(self.records)

    # -- every request --------------------------------------------------------------------------------------------
    def handle(self, request: Request) -> None:
        """Called by the listener."""
        try:
            found = self.records.get(request.path)
            if found is not None and request.method == "POST":
                self._decide(request, self._who(request, found[0]), found[1])
                return
            role, handler = self._route(request)
            caller = _OWNER if role is None else self._who(request, role)
        except RefusedError as refused:
            self._refuse(request, refused)
            return
        except Exception:  # noqa: BLE001 - a mistake of ours: the caller gets an answer, the log the trace
            self._mistake(request)
            return
        task = asyncio.get_running_loop().create_task(self._run(request, caller, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, request: Request, caller: Caller, handler: Handler) -> None:
        trace.set(self.tracing.id_of(request.headers))
        try:
            self._answer(request, await handler(request, caller))
        except RefusedError as refused:
            self._refuse(request, refused)
        except Exception:  # noqa: BLE001 - as above
            self._mistake(request)

    def _answer(self, request: Request, reply: Reply) -> None:
        route = request.path if request.path in self.paths else PREFIX if request.path.startswith(f"{PREFIX}/") else "other"
        took = time.monotonic_ns() - request.started
        self.metrics.request_done(route, reply.status, took / 1e9)
        self.tracing.done(request, route, reply.status, took)
        request.connection.respond(reply.status, reply.body, reply.kind, reply.more)

    def _refuse(self, request: Request, refused: RefusedError) -> None:
        more = refused.more or (b"retry-after: 1\r\n" if refused.said.retry else b"")
        if refused.said.status == 401:
            more += b"www-authenticate: Bearer\r\n"
        if request.path.startswith("/v2"):  # that protocol has a shape of its own for errors
            text = f"{refused.said.title}: {refused.said.detail}".removesuffix(": ")
            self._answer(request, Reply(refused.said.status, encode({"error": text}), more=more))
            return
        self._answer(request, Reply(refused.said.status, encode(refused.said), PROBLEM, more))

    def _mistake(self, request: Request) -> None:
        _log.exception("a request failed unexpectedly: %s %s", request.method[:10], request.path[:200])
        self._refuse(request, RefusedError(problem(500, "internal", "the service made a mistake; it is in its log", retry=True,
                                                   next_step="send the same event again: an id is decided once")))

    def _route(self, request: Request) -> tuple[str | None, Handler]:
        found = self.routes.get(("GET" if request.method == "HEAD" else request.method, request.path))
        if found is not None:
            return found
        if request.path.startswith(f"{PREFIX}/") and request.method in ("GET", "HEAD"):
            return roles.OBSERVE, self.log
        if request.path in self.paths:
            allowed = sorted({m for m, path in self.routes if path == request.path} | {"POST"} - {
                "" if request.path in self.records else "POST"})
            raise RefusedError(problem(405, "method", "this path is not asked that way", request.method),
                               f"allow: {', '.join(allowed)}\r\n".encode())
        raise RefusedError(problem(404, "path", "there is nothing here", request.path[:200], next_step="see /openapi.json"))

    def _who(self, request: Request, role: str) -> Caller:
        if self.callers is None:
            return _OWNER
        caller = self.callers.who(request.headers.get(b"authorization", b""))
        if caller is None:
            raise RefusedError(problem(401, "key", "a valid key or token is needed",
                                       next_step="send Authorization: Bearer fw_… or a token of the identity provider"))
        if role not in caller.roles:
            raise RefusedError(problem(403, "role", f"this caller may not do that; it needs the role '{role}'"))
        return caller

    def limit(self, caller: Caller, records: int) -> None:
        """Refuse a caller who sends too much."""
        wait = 0.0 if self._rates is None else self._rates.allow(caller.name, records, time.monotonic())
        if wait > 0:
            after = 3600 if math.isinf(wait) else math.ceil(wait)
            raise RefusedError(problem(429, "rate", f"more than {self.desk.service.rate} records a second", retry=True,
                                       next_step=f"wait {after} s"), b"retry-after: %d\r\n" % after)

    # -- decisions and outcomes -------------------------------------------------------------------------------------
    def _decide(self, request: Request, caller: Caller, kind: int) -> None:
        text = request.body.strip()
        many = text.startswith(b"[")
        raws = self._split(text) if many else [text]
        self.limit(caller, len(raws))
        if not raws:
            self._answer(request, Reply(200, b"[]"))
            return

        def done(status: int, body: bytes) -> None:
            if status < 400:
                self._answer(request, Reply(status, body))
            else:
                self._answer(request, Reply(status, body, PROBLEM, b"retry-after: 1\r\n" if status == 503 else b""))

        try:
            self.desk.take(kind, raws, many, done)
        except BusyError:
            request.connection.rest(self._refusals.rest(time.monotonic()))
            self._answer(request, _BUSY)

    def _split(self, body: bytes) -> list[bytes]:
        try:
            raws = [bytes(raw) for raw in _RAWS.decode(body)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError(problem(400, "malformed", "the body is not a JSON array", str(error))) from None
        if len(raws) > MOST:
            raise RefusedError(problem(413, "too_many", f"a request has at most {MOST} records"))
        return raws

    # -- everything else ----------------------------------------------------------------------------------------------
    async def switch(self, _: Request, __: Caller) -> Reply:
        """Whether the kill switch is on."""
        return Reply(200, encode({"on": any(link.state is not None and link.state.killed for link in self.desk.links)}))

    async def turn(self, request: Request, caller: Caller) -> Reply:
        """Turn the kill switch on every shard; durable, with who and why, before it is answered."""
        asked = _read(request.body, Switch, '{"on": true or false, "why": "…"}')
        turn = Turn(asked.on, caller.name, asked.why[:500])
        async with self._turning:
            said = await self._every(wire.KILL, encode(turn), "the switch could not be turned")
        for link in self.desk.links:
            if link.state is not None:
                link.state.killed = asked.on
        return Reply(200, said[0])

    async def rollout(self, _: Request, __: Caller) -> Reply:
        """Where the rollout stands, on each shard."""
        found, _name = await self._stands()
        return Reply(200, encode([{"rollout": describe(course, len(self._stages)), **course._asdict()} for course in found]))

    async def roll(self, request: Request, caller: Caller) -> Reply:
        """Take a step of the rollout on every shard; durable before it is answered. One that an earlier try took on some shards
        only is completed, and taken twice nowhere."""
        asked = _read(request.body, Step, '{"step": "…", "why": "…", "model": "…"}')
        try:
            check(asked.step, asked.why)
            async with self._turning:
                found, name = await self._stands(asked.model if asked.step == START else "", some=asked.step == ABORT)
                if asked.rollout not in (0, *(course.number for course in found)):
                    raise DataError("another rollout is under way", found=found[0].number, expected=f"{asked.rollout}")
                if asked.stage not in (0, lowest := 1 + min(course.stage for course in found)):
                    raise DataError("it stands at another stage", found=lowest, expected=f"{asked.stage}")
                there = target(found, asked.step, self._stages, name)
                told = await self._every(wire.ROLL, encode(Roll(asked.step, caller.name, asked.why[:LONGEST_WHY], there)),
                                         "the step could not be taken everywhere")
        except DataError as error:
            raise RefusedError(problem(409, "rollout", error.what, str(error))) from None
        return Reply(200, b"[" + b",".join(told) + b"]")

    async def approve(self, request: Request, caller: Caller) -> Reply:
        """Approve of a rollout's promotion, by its number, on every shard."""
        asked = _read(request.body, Approval, '{"rollout": N, "why": "…"}')
        if not asked.why:
            raise RefusedError(problem(400, "why", "an act needs a reason"))
        wish = Roll(APPROVE, caller.name, asked.why[:LONGEST_WHY], Course(asked.rollout))
        async with self._turning:
            told = await self._every(wire.ROLL, encode(wish), "it could not be approved everywhere", 409)
        return Reply(200, b"[" + b",".join(told) + b"]")

    @property
    def _stages(self) -> list[float]:
        return self.desk.pilot.manifest.rollout.stages

    async def _stands(self, model: str = "", some: bool = False) -> tuple[list[Course], str]:
        """Where each shard stands, or ``some`` of them: an abort does not wait for one that is down."""
        asked = await self._ask(wire.ROLL, encode(Roll("", "", "", None, model)))
        answered = [each for each in asked if each[0] == 200]
        told = _all_of(answered if some and answered else asked, "it cannot be told", 409 if model else 503)
        found = [msgspec.json.decode(each, type=Stands) for each in told]
        return [stands.course for stands in found], found[0].model

    async def people(self, request: Request, caller: Caller) -> Reply:
        """Consent, hold or erasure of people; durable before it is answered. A list, one member for each shard."""
        asked = _read(request.body, Asked, '{"act": "…", "names": ["…"], "why": "…"}')
        if asked.act not in ACTS or not asked.names:
            raise RefusedError(problem(400, "act", "nobody can be asked that",
                                       f"act is one of {', '.join(ACTS)}; names are some"))
        if len(asked.names) > MOST:
            raise RefusedError(problem(413, "too_many", f"a request has at most {MOST} names"))
        if self.desk.pilot.manifest.privacy is None:
            raise RefusedError(problem(409, "privacy", "this pilot's manifest names no people"))
        plea = encode(Plea(asked.act, asked.names, caller.name, asked.why[:500]))
        async with self._turning:
            said = await self._every(wire.PEOPLE, plea, "it could not be done", seconds=_LONG)
        return Reply(200, b"[" + b",".join(said) + b"]")

    async def reload(self, request: Request, caller: Caller) -> Reply:
        """Read manifest and models again. What does not hold is refused, and the old version keeps deciding."""
        asked = _read(request.body, Wish, '{"why": "…"}')
        return Reply(200, await self.renew(caller.name, asked.why[:500]))

    async def renew(self, who: str, why: str) -> bytes:
        """Have every shard decide by what is in the pilot's folder now: each makes it ready, and when all have the same, they
        swap. Raises `RefusedError` with the reason of a shard; what cannot be made ready everywhere is swapped nowhere."""
        async with self._renewing:
            if any(link.state is None for link in self.desk.links):
                raise RefusedError(problem(503, "operation", "a shard is being started", retry=True))
            try:
                made = await self._every(wire.PREPARE, b"", "the new version was refused", 409, _LONG)
                if len(set(made)) > 1:
                    raise RefusedError(problem(409, "operation", "the new version was refused",
                                               "the folder changed while it was read", retry=True))
            except RefusedError:
                await self._ask(wire.SWAP, encode(Renew(who, why, "")), 1.0)  # to nothing: what some made ready is forgotten
                raise
            told = await self._ask(wire.SWAP, encode(Renew(who, why, made[0].decode())))
            if any(code == 200 for code, _ in told):
                self._reloaded()
        return _all_of(told, "a shard could not swap", 503)[0]

    async def _every(self, kind: int, content: bytes, trouble: str, status: int = 503, seconds: float = _CONTROL) -> list[bytes]:
        """What every shard answers. Raises `RefusedError`."""
        return _all_of(await self._ask(kind, content, seconds), trouble, status)

    async def _ask(self, kind: int, content: bytes, seconds: float = _CONTROL) -> list[tuple[int, bytes]]:
        return await asyncio.gather(*(link.call(kind, content, seconds) for link in self.desk.links))

    async def log(self, request: Request, _: Caller) -> Reply:
        """The transparency log of a shard."""
        return await self._published.answer(request.path)

    async def shards(self, _: Request, __: Caller) -> Reply:
        """How each shard is."""
        return Reply(200, encode([{"state": link.state, "waiting": link.waiting, "restarts": link.restarts, "open": link.open}
                                  for link in self.desk.links]))

    async def count(self, _: Request, __: Caller) -> Reply:
        """Metrics."""
        return Reply(200, self.metrics.text(), TEXT)

    async def live(self, _: Request, __: Caller) -> Reply:
        """Whether the process is worth keeping."""
        return Reply(200, b'{"live":true}')

    async def ready(self, request: Request, _: Caller) -> Reply:
        """Whether it would decide correctly now: every shard makes something durable, and its champion gives the bits it gave at
        the start."""
        if request.connection.draining:
            raise RefusedError(problem(503, "not_ready", "the service is going down", retry=True))
        well = await asyncio.gather(*(link.probe(1.0) for link in self.desk.links))
        states = [link.state for link in self.desk.links]
        if not all(well) or any(state is None or not state.ready for state in states):
            raise RefusedError(problem(503, "not_ready", "a shard would not decide correctly now", encode(states).decode(),
                                       retry=True))
        return Reply(200, encode({"ready": True, "kill_switch": any(s is not None and s.killed for s in states),
                                  "degraded": any(s is not None and s.degraded for s in states)}))

    async def describe(self, _: Request, __: Caller) -> Reply:
        """OpenAPI 3.1."""
        return Reply(200, self.openapi)


def _all_of(told: list[tuple[int, bytes]], trouble: str, status: int) -> list[bytes]:
    """The answers of all shards. Raises `RefusedError` with the first that is none."""
    for code, body in told:
        if code != 200:
            raise RefusedError(problem(status, "operation", trouble, body.decode(errors="replace"), retry=status == 503))
    return [body for _, body in told]


def _read(body: bytes, kind: Any, expected: str) -> Any:
    try:
        json.loads(body)  # refuses what a lenient reader may take differently
        return msgspec.json.decode(body, type=kind)
    except (ValueError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(problem(400, "malformed", f"expected {expected}", str(error))) from None
