"""An open-model load generator: requests leave when the schedule says, whether or not earlier ones were answered.

Latency counts from the intended time, so a server that stalls is charged for everything that should have been sent
meanwhile. Run as a process of its own: `python -m benchmarks.service.generator PLAN.json`; see `Plan`.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.service.events import Template, load
from benchmarks.service.wire import Timer, complete

_now = time.monotonic_ns
LOST, UNSENT = -1, -2


class Plan(msgspec.Struct):
    """What to send where. ``schedule`` is a .npy of nanoseconds from the start; ``prefix`` (8 characters) makes ids unique.

    Event times start at ``epoch`` (microseconds since 1970; 0: now) and run ``speed`` times as fast as the clock.
    ``drain`` is how many seconds answers may take after the last request was due. ``latencies`` is where the .npy of
    nanoseconds by request goes: `LOST` without a good answer, `UNSENT` when no connection was ever free.
    """

    port: int
    templates: str
    schedule: str
    prefix: str
    latencies: str
    connections: int = 128
    epoch: int = 0
    speed: float = 1.0
    drain: float = 10.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way (``index``, or -1)."""

    def __init__(self, run: Run) -> None:
        self.run, self.index, self.buffer = run, -1, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.run.freed(self)

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        if not complete(data):
            self.buffer = data
            return
        self.buffer = b""
        self.run.answered(self, data[9:12])

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.lost(self)


class Run:
    """A plan being carried out."""

    def __init__(self, plan: Plan, templates: list[Template], due: np.ndarray) -> None:
        self.plan, self.templates, self.n = plan, [(t.head, t.middle, t.tail) for t in templates], len(due)
        self.prefix = plan.prefix.encode()[:8].ljust(8, b"0")
        self.latency = np.full(self.n, UNSENT, np.int64)
        self.lag = np.full(self.n, -1, np.int64)
        self.free: deque[Connection] = deque()
        self.next, self.over, self.reconnects, self.backlog = 0, 0, 0, 0
        self.statuses: dict[bytes, int] = {}
        self.timer, self.second, self.stamp = Timer(), -1, b""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.start = 0
        self.relative = due
        self.due = due.data

    async def play(self) -> None:
        """Connect, send everything, wait for the answers, at most `Plan.drain` seconds after the last was due."""
        self.loop = asyncio.get_running_loop()
        self.done = self.loop.create_future()
        for _ in range(self.plan.connections):
            await self.connect()
        self.start = _now() + 50_000_000
        self.epoch = self.plan.epoch or time.time_ns() // 1000
        self.due = (self.relative + self.start).data
        self.loop.add_reader(self.timer.fd, self.woken)
        self.timer.arm(self.due[0])
        limit = self.relative[-1] / 1e9 + self.plan.drain
        await asyncio.wait([self.done], timeout=limit)
        self.loop.remove_reader(self.timer.fd)
        self.n = 0  # nothing is sent any more

    async def connect(self) -> None:
        await self.loop.create_connection(lambda: Connection(self), "127.0.0.1", self.plan.port)

    def woken(self) -> None:
        """The timer says that something is due."""
        if self.timer.rang():  # else an answer came first, sent what was due, and armed the timer anew
            self.pump(True)

    def pump(self, prompt: bool) -> None:
        """Send what is due while connections are free; ``prompt``: lateness would be the generator's own doing."""
        free, due = self.free, self.due
        while self.next < self.n and free:
            now = _now()
            at = due[self.next]
            if at > now:
                self.timer.arm(at)
                return
            if prompt:
                self.lag[self.next] = now - at
            else:
                self.backlog += 1
            self.send(free.popleft(), self.next)
            self.next += 1

    def send(self, connection: Connection, i: int) -> None:
        """Put the request's id and event time into its bytes and write them."""
        second, micro = divmod(self.epoch + int((self.due[i] - self.start) * self.plan.speed) // 1000, 1_000_000)
        if second != self.second:
            self.second, self.stamp = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        head, middle, tail = self.templates[i % len(self.templates)]
        connection.index = i
        self.latency[i] = LOST
        connection.transport.write(b"".join((head, self.prefix, b"%012d" % i, middle, self.stamp, b".%06dZ" % micro, tail)))

    def answered(self, connection: Connection, status: bytes) -> None:
        """A whole response came."""
        i = connection.index
        if status == b"200":
            self.latency[i] = _now() - self.due[i]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        connection.index = -1
        self.freed(connection)
        self.finished()

    def freed(self, connection: Connection) -> None:
        """A connection can take a request; one that was waiting for it goes first."""
        prompt = bool(self.free)
        self.free.append(connection)
        if self.start and self.next < self.n:
            self.pump(prompt)

    def finished(self) -> None:
        self.over += 1
        if self.over >= self.n and not self.done.done():
            self.done.set_result(None)

    def lost(self, connection: Connection) -> None:
        """The server closed a connection: its request, if any, has no answer. Reconnects are bounded."""
        if connection in self.free:
            self.free.remove(connection)
        if self.n and self.reconnects < 10_000:
            self.reconnects += 1
            task = self.loop.create_task(self.connect())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if connection.index >= 0 and self.n:
            connection.index = -1
            self.finished()


def play(plan: Plan) -> dict[str, Any]:
    """Carry out a plan in this process; figures about the generator itself, latencies in the plan's file."""
    import uvloop

    due = np.load(plan.schedule, allow_pickle=False)
    run = Run(plan, load(Path(plan.templates)), due)
    gc.collect()
    gc.disable()
    cpu, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run.play())
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    gc.enable()
    np.save(plan.latencies, run.latency, allow_pickle=False)
    lag = run.lag[run.lag >= 0] / 1e6
    used = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return {"requests": len(due), "seconds": wall, "reconnects": run.reconnects, "from_backlog": run.backlog,
            "statuses": {k.decode(errors="replace"): v for k, v in run.statuses.items()},
            "generator_cpu_share": used / wall,
            "generator_lag_p50_ms": float(np.percentile(lag, 50)) if len(lag) else 0.0,
            "generator_lag_p99_ms": float(np.percentile(lag, 99)) if len(lag) else 0.0}


if __name__ == "__main__":
    given = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    sys.stdout.write(msgspec.json.encode(play(given)).decode() + "\n")
