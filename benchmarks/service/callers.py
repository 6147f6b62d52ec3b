"""Callers that go on while the service is broken: paced, each event sent until it is answered, everything noted."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.service.events import event, payments

_ROWS = payments(5000, seed=23)


@dataclass
class Sent:
    """One request: when (monotonic seconds), how long until its answer (seconds), the status (0: no answer came on a connection
    that was open), the answer, and the event's id."""

    at: float
    took: float
    status: int
    said: dict[str, Any]
    id: str


class Callers:
    """Threads with a connection each, together ``rate`` requests a second, until `stop`. ``again``: an event that was refused or
    had no answer is sent until it has one."""

    def __init__(self, port: int, rate: float, threads: int = 8, again: bool = False, prefix: str = "E") -> None:
        self.port, self.again, self.prefix = port, again, prefix
        self.sent: list[Sent] = []
        self._pause, self._end = threads / rate, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is under way."""
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, k: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        due, i = time.monotonic() + k * self._pause / len(self._threads), 0
        while not self._end.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._pause, time.monotonic() - 1.0)
            i += 1
            name = f"{self.prefix}-{k}-{i}"
            body = body_of(name, (k * 7919 + i) % 5000)
            until = time.monotonic() + 60
            while True:
                sent = self._once(connection, name, body)
                if sent is not None:
                    self.sent.append(sent)
                done = sent is not None and sent.status not in (0, 503)
                if done or not self.again or time.monotonic() > until:
                    break
                time.sleep(0.05)

    def _once(self, connection: http.client.HTTPConnection, name: str, body: bytes) -> Sent | None:
        """None: nobody listens, or the connection was closed before anything could be sent on it."""
        try:
            if connection.sock is None:
                connection.connect()
        except OSError:
            time.sleep(0.02)
            return None
        at = time.monotonic()
        try:
            connection.request("POST", "/v1/decisions", body)
            reply = connection.getresponse()
            said = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            return Sent(at, time.monotonic() - at, 0, {}, name)
        took = time.monotonic() - at
        if reply.headers.get("connection") == "close":
            connection.close()
        return Sent(at, took, reply.status, said, name)


def body_of(name: str, row: int) -> bytes:
    """An event that happens now."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({**event(_ROWS, row), "transaction_id": name, "tx_time": now}, separators=(",", ":")).encode()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """One request of ours: status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        raw = reply.read()
        return reply.status, json.loads(raw) if raw[:1] in b"[{" else raw.decode()
    finally:
        connection.close()


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something; raises `TimeoutError`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if true():
                return
        except OSError:
            time.sleep(0.02)
        time.sleep(0.05)
    raise TimeoutError("it did not happen in time")
