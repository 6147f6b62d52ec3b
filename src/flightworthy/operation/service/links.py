"""The front's side of its shards: a process each, what was asked of it and not answered yet, and what to do when it is slow,
silent or gone."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Callable
from typing import Any

import msgspec

from flightworthy.ground.errors import FlightworthyError
from flightworthy.operation.service import wire
from flightworthy.operation.service.errands import State
from flightworthy.operation.service.starts import Home, Starts, end
from flightworthy.operation.service.wire import Ask, Tally

_log = logging.getLogger("flightworthy.service")
_SILENT, _PROBE, _STUCK, _START = 16, 0.1, 15.0, 120.0
_RESERVE = 3.0  # seconds after a start until the next process is made ready: first things first
_QUIET = 500_000_000  # nanoseconds
_EARLY, _LATE = 0.25, 0.5  # of a caller's patience
_LEAST, _EASE = 64, 50_000_000  # records that may always wait; nanoseconds between two cuts
Done = Callable[[int, bytes], None]


class BusyError(FlightworthyError):
    """Too much waits already; nothing was done with the request."""


class Room:
    """How many records may wait: at most ``most``, and fewer when those that are answered have used up half of their time. A
    queue that is longer than the time its callers have decides nothing but what nobody waits for any more.

    >>> room = Room(4096)
    >>> room.answered(0.9, waiting=4000, now=1)
    >>> room.size
    3500
    """

    def __init__(self, most: int) -> None:
        self.size = self._most = most
        self._next = 0

    def answered(self, share: float, waiting: int, now: int) -> None:
        """A record was answered after this share of its caller's patience, while so many waited."""
        if share < _EARLY and self.size < self._most:
            self.size = min(self._most, self.size + self.size // 16 + 1)
        elif share > _LATE and waiting > _LEAST and now >= self._next:  # with fewer it is not the queue that takes the time
            self.size = max(_LEAST, min(self.size, waiting) * 7 // 8)
            self._next = now + _EASE


class Link:
    """One shard. Answers come to the ``done`` of each ask, exactly once: a status and its bytes, or `wire.REFUSED` and why."""

    def __init__(self, home: Home, queue: int, tally: Callable[[Tally], None]) -> None:
        self.home, self._tally, self.room = home, tally, Room(queue)
        self._starts = Starts(home)
        self.state: State | None = None  # as it said last; None while there is no process that answers
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting = 0  # events and outcomes asked for and not answered
        self.restarts = 0
        self._asked: dict[int, tuple[Ask, Done, int]] = {}  # and how long its caller waits
        self._number = 0
        self._out: list[Ask] = []
        self._silent = 0  # answers in a row that did not come in time, or refused
        self._silent_from = 0
        self._transport: Any = None
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._loop = asyncio.get_running_loop()
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[bool] | None = None

    # -- asking -------------------------------------------------------------------------------------------------
    @property
    def open(self) -> bool:
        """Whether events are not even sent: too many in a row had no answer, for some time. A moment's pause, in which many
        may be late together, is none: to refuse until a probe comes back would cost far more than the pause."""
        return self._silent >= _SILENT and time.monotonic_ns() - self._silent_from > _QUIET

    def ask(self, kind: int, raws: list[bytes], patience: int, done: Done, many: bool = True) -> None:
        """Ask for something, and wait so many nanoseconds for it. Raises `BusyError` when too many records wait."""
        records, now = len(raws), time.monotonic_ns()
        if kind <= wire.OUTCOME:
            if self.open:
                done(wire.REFUSED, b"left alone after repeated failures")
                return
            if self.waiting and self.waiting + records > self.room.size:
                raise BusyError("too many records wait", found=self.waiting, retryable=True)
        self._number += 1
        late = now + patience
        ask = Ask(self._number, kind, late, many, raws)
        self._asked[ask.number] = ask, done, patience
        if kind <= wire.OUTCOME:
            self.waiting += records
        if self._transport is not None:
            self._send(ask)
        if self._timer is None or late < self._timer_at:
            self._expire_at(late)

    async def call(self, kind: int, content: bytes | list[bytes], seconds: float) -> tuple[int, bytes]:
        """Ask and wait. The status is `wire.REFUSED` when there was no answer in time."""
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        raws = content if isinstance(content, list) else [content]
        self.ask(kind, raws, int(seconds * 1e9),
                 lambda status, body: None if answer.done() else answer.set_result((status, body)))
        return await answer

    def _send(self, ask: Ask) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(ask)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(wire.frame(out))

    def _told(self, answers: wire.Answers) -> None:
        oldest = self._asked.get(answers.told[0].number) if answers.told else None
        if oldest is not None and oldest[0].kind <= wire.OUTCOME:
            now, (ask, _, patience) = time.monotonic_ns(), oldest
            self.room.answered(1.0 - (ask.late - now) / patience, self.waiting, now)
        for told in answers.told:
            found = self._forget(told.number)
            if found is None:  # late: it was answered without the shard
                continue
            ask, done, _ = found
            if told.status != wire.REFUSED:
                self._silent = 0
            elif ask.kind <= wire.OUTCOME:
                self._unheard()
            _tell(done, told.status, told.body)
        if answers.tally is not None:
            self._tally(answers.tally)

    def _forget(self, number: int) -> tuple[Ask, Done, int] | None:
        found = self._asked.pop(number, None)
        if found is not None and found[0].kind <= wire.OUTCOME:
            self.waiting -= len(found[0].raws)
        return found

    def _unheard(self) -> None:
        if self._silent == 0:
            self._silent_from = time.monotonic_ns()
        self._silent += 1

    def _expire_at(self, late: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = late
        self._timer = self._loop.call_later(max(0.0, (late - time.monotonic_ns()) / 1e9), self._expire)

    def _expire(self) -> None:
        """Answer those who waited long enough, and look again when the next one has. Nearly always nobody has: all that is asked
        is looked at then, instead of being kept in order of its time with every request."""
        self._timer = None
        now, soonest, pause = time.monotonic_ns(), 0, 0
        for number, (ask, done, patience) in list(self._asked.items()):  # who hears of it may ask at once
            if ask.late > now:
                if not soonest or ask.late < soonest:
                    soonest, pause = ask.late, patience // 64
                continue
            if self._forget(number) is None:
                continue
            if ask.kind <= wire.OUTCOME:
                self._unheard()
                self.room.answered(1.0, self.waiting, now)
            _tell(done, wire.REFUSED, b"no answer in time")
        if soonest and (self._timer is None or soonest < self._timer_at):
            self._expire_at(max(soonest, now + pause))  # of a long queue not each one by itself

    # -- the process --------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Start the process and wait until it answers. Raises `FlightworthyError` with what it said when it cannot start."""
        await self._spawn()
        self._task = self._loop.create_task(self._watch())

    async def _spawn(self) -> None:
        self._up = self._loop.create_future()
        self.process, ours = self._starts.begin()
        ours.setblocking(False)
        await self._loop.create_connection(lambda: _Pipe(self), sock=ours)
        await asyncio.wait_for(asyncio.shield(self._up), _START)

    def came_up(self, transport: Any, body: bytes) -> None:
        """The process answers: what was asked and not answered is asked of it, once more or for the first time; an event
        that was decided already is answered from the ledger."""
        self.state, self._transport, self._silent = msgspec.json.decode(body, type=State), transport, 0
        again = [ask for ask, *_ in self._asked.values()]
        if again:
            transport.write(wire.frame(again))
        self._loop.call_later(_RESERVE, self._reserve)
        if not self._up.done():
            self._up.set_result(None)

    def _reserve(self) -> None:
        if not self._leaving:
            self._starts.reserve()

    def could_not(self, why: str) -> None:
        """The process said that it cannot start."""
        if not self._up.done():
            self._up.set_exception(FlightworthyError(why))

    def went_down(self, transport: Any) -> None:
        """The process has gone, or closed its end."""
        if transport is self._transport:
            self.state = self._transport = None
            # Events and outcomes are asked of the next process; what it was to do besides is for whoever asked to ask again.
            gone = [number for number, (ask, *_) in self._asked.items() if ask.kind > wire.OUTCOME]
            for number in gone:
                _tell(self._asked.pop(number)[1], wire.REFUSED, b"the shard went down")
        if not self._up.done():
            self._up.set_exception(FlightworthyError("a shard ended before it could answer", where=str(self.home.base)))

    async def _watch(self) -> None:
        """Start the process again whenever it ends; probe it while it is silent; end it when it is stuck."""
        heard, pause = time.monotonic(), 0.0
        while not self._leaving:
            if self.state is None:
                await self._again(pause)
                heard, pause = time.monotonic(), min(2.0, pause * 2 + 0.05) if self.state is None else 0.0
                continue
            await asyncio.sleep(_PROBE if self._silent else 4 * _PROBE)
            if self.state is None or self._leaving:
                continue
            if await self.probe(1.0):
                heard = time.monotonic()
            elif time.monotonic() - heard > _STUCK and self.process is not None and self.state is not None:
                _log.error("shard %s did not answer for %.0f s and is ended", self.home.base.name, _STUCK)
                self.process.kill()
                heard = time.monotonic()

    async def probe(self, seconds: float) -> bool:
        """Whether the shard can make something durable now, and answers. Who asks meanwhile shares the answer: a caller without
        a key may ask for readiness, and shall not be able to keep the disk busy."""
        if self._probing is None or self._probing.done():
            self._probing = self._loop.create_task(self._probe(seconds))
        return await asyncio.shield(self._probing)

    async def _probe(self, seconds: float) -> bool:
        status, body = await self.call(wire.PING, b"", seconds)
        if status != 200 or self.state is None:
            return False
        self.state = msgspec.json.decode(body, type=State)
        self._silent = 0
        return True

    async def _again(self, pause: float) -> None:
        await asyncio.sleep(pause)
        self.reap()
        self.restarts += 1
        try:
            await self._spawn()
        except (FlightworthyError, OSError, TimeoutError) as error:
            _log.error("shard %s cannot start: %s", self.home.base.name, error)

    def reap(self) -> None:
        """Make sure that the old process is gone before another one starts."""
        if self.process is not None:
            end(self.process)

    async def leave(self, seconds: float = 30.0) -> None:
        """Let the process decide what it has, save its state and end."""
        self._leaving = True
        if self._task is not None:
            self._task.cancel()
        self._starts.close()
        if self.process is None:
            return
        if self.state is not None:
            await self.call(wire.LEAVE, b"", seconds)
        until = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(0.01)
        self.reap()


def _tell(done: Done, status: int, body: bytes) -> None:
    """Hand on an answer; a mistake with one of them must not take the others, or the shard, with it."""
    try:
        done(status, body)
    except Exception:  # noqa: BLE001 - as said
        _log.exception("an answer could not be handed on")


class _Pipe(asyncio.Protocol):
    """Reads what a shard says."""

    def __init__(self, link: Link) -> None:
        self._link, self._frames = link, wire.Frames()
        self._transport: Any = None
        self._up = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for content in self._frames.feed(data):
            answers = wire.answers(content)
            if self._up:
                self._link._told(answers)
            elif answers.told[0].status == 200:
                self._up = True
                self._link.came_up(self._transport, answers.told[0].body)
            else:
                self._link.could_not(answers.told[0].body.decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.went_down(self._transport)
