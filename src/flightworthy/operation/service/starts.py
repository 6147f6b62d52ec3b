"""Starts the processes of a shard, and keeps one in reserve that has all code loaded: a shard that died is replaced in tenths of
a second instead of seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

Started = tuple["subprocess.Popen[bytes]", socket.socket]
GO = b"\x01"  # what a process waits for before it touches the rooms of its shard


@dataclass
class Home:
    """Where a shard lives: the pilot's folder, the folder of its rooms, the folder of the models."""

    pilot: Path
    base: Path
    models: Path


class Starts:
    """Of one shard. A process ends by itself when the other end of its socket is closed."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._reserve: Started | None = None

    def begin(self) -> Started:
        """A process that opens the shard now, and our end of its socket. Raises `OSError`."""
        started, self._reserve = self._reserve, None
        if started is not None and started[0].poll() is None:
            with contextlib.suppress(OSError):  # it ended in this very moment
                started[1].sendall(GO)
                return started
        if started is not None:
            end(started[0])
            started[1].close()
        fresh = self._start("now")
        fresh[1].sendall(GO)
        return fresh

    def reserve(self) -> None:
        """Have a process ready for the next time."""
        if self._reserve is None or self._reserve[0].poll() is not None:
            self.close()
            self._reserve = self._start("reserve")

    def close(self) -> None:
        """End the process in reserve."""
        if self._reserve is not None:
            self._reserve[1].close()
            end(self._reserve[0])
            self._reserve = None

    def _start(self, how: str) -> Started:
        ours, theirs = socket.socketpair()
        home = self.home
        process = subprocess.Popen(
            [sys.executable, "-m", "flightworthy.operation.service.process", str(home.pilot), str(home.base), str(home.models),
             str(theirs.fileno()), how], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        return process, ours


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
