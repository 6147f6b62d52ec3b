"""A running service for tests, and a way to call it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import PILOTS


class Service:
    """`flightworthy serve` in processes of its own. ``manifest``: text put at the end of the starter's; the pilot is then a copy
    beside ``var``."""

    def __init__(self, var: Path, manifest: str = "", args: tuple[str, ...] = (), wait: bool = True,
                 change: tuple[str, str] = ("", ""), environ: dict[str, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.var, self.pilot = var, PILOTS / "starter"
        if manifest:
            self.pilot = var.parent / "pilot"
            self.pilot.mkdir(exist_ok=True)
            self.write(manifest, change)
        self._log = (var / "service.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flightworthy", "serve", str(self.pilot), "--var", str(var), "--port", str(self.port),
             "--notice", "300ms", *args], stdout=subprocess.DEVNULL, stderr=self._log,
            env={**os.environ, **(environ or {})})
        if wait:
            self.wait()

    def write(self, manifest: str, change: tuple[str, str] = ("", "")) -> None:
        """Write the copy of the pilot anew."""
        text = (PILOTS / "starter" / "pilot.yaml").read_text()
        assert change[0] in text
        (self.pilot / "pilot.yaml").write_text(text.replace(*change, 1) + "\n" + manifest + "\n")

    def wait(self, seconds: float = 60) -> None:
        """Until it is ready."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.call("GET", "/health/ready")[0] == 200:
                    return
            time.sleep(0.05)
            assert self.process.poll() is None, self.log()
        raise AssertionError("the service did not get ready\n" + self.log())

    def log(self) -> str:
        """What it wrote to its error stream."""
        return (self.var / "service.log").read_text()

    def raw(self, method: str, path: str, body: bytes | None = None,
            headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, body: bytes | None = None, key: str = "") -> tuple[int, Any]:
        """Status and decoded body."""
        status, headers, raw = self.raw(method, path, body, {"Authorization": f"Bearer {key}"} if key else {})
        return status, json.loads(raw) if "json" in headers["content-type"] and raw else raw.decode()

    def shards(self) -> list[int]:
        """Process ids of the shards."""
        return [shard["state"]["pid"] for shard in self.call("GET", "/v1/shards")[1] if shard["state"]]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def end(self) -> None:
        """Whatever became of it: no process is left."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._log.close()


def exists(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
