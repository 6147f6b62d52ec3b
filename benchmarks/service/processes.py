"""A server's process tree: pinned, waited for, weighed, and stopped by the ids of its own processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.service.envs import PeerError

SERVER_CORE, LOAD_CORE = 0, 1
MARK = "FLIGHTWORTHY_BENCH"
_TICK, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Others:
    """How much of the machine other processes took: cores kept busy by neither the server, nor the load, nor this process."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.began = tree, time.monotonic()
        self.before = self._now()

    def _now(self) -> float:
        words = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
        busy = sum(map(int, words[:3])) + sum(map(int, words[5:7]))  # user, nice, system; interrupts
        mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return busy / _TICK - self.tree.cpu_seconds() - sum(used.ru_utime + used.ru_stime for used in mine)

    def cores(self) -> float:
        """Mean number of cores since this was made."""
        return max(0.0, (self._now() - self.before) / (time.monotonic() - self.began))


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def memory_mb(pids: Sequence[int]) -> dict[str, float]:
    """Resident memory of processes: ``rss`` counts pages that they share once for each, ``pss`` once in all."""
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rss += int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
            pss += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return {"rss": rss / 1e6, "pss": pss / 1e6}


class Tree:
    """A command and everything it started, all on one core. Processes that left the family are known by a mark in their
    environment."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path, core: int = SERVER_CORE) -> None:
        self.mark, self.log = secrets.token_hex(8), log
        with log.open("wb") as out:
            self.root = subprocess.Popen(["taskset", "-c", str(core), *command], env={**os.environ, **environ, MARK: self.mark},
                                         stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)

    def pids(self) -> list[int]:
        """Every living process of the tree."""
        family: dict[int, int] = {}
        marked = set()
        needle = f"{MARK}={self.mark}".encode()
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):  # it ended while it was looked at
                    pid = int(folder.name)
                    family[pid] = int(_stat(pid)[1])
                    if needle in (folder / "environ").read_bytes().split(b"\0"):
                        marked.add(pid)
        found = {self.root.pid} & family.keys() | marked
        while grown := {pid for pid, parent in family.items() if parent in found} - found:
            found |= grown
        return sorted(found)

    def cpu_seconds(self) -> float:
        """User and system time of the tree so far, ended children included."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += sum(map(int, _stat(pid)[11:15]))
        return total / _TICK

    def memory_mb(self) -> dict[str, float]:
        """Memory of all of its processes."""
        return memory_mb(self.pids())

    def cores(self) -> set[int]:
        """Every core some process of the tree may run on."""
        allowed: set[int] = set()
        for pid in self.pids():
            with contextlib.suppress(OSError):
                allowed |= os.sched_getaffinity(pid)
        return allowed

    def wait_ready(self, port: int, path: str, seconds: float) -> None:
        """Until a GET of ``path`` is answered with 200. Raises `PeerError`."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if self.root.poll() is not None:
                raise PeerError(f"ended with {self.root.returncode} before it was ready: {self.tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException):  # not there yet
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                link.request("GET", path)
                status = link.getresponse().status
                link.close()
                if status == 200:
                    return
            time.sleep(0.2)
        raise PeerError(f"not ready after {seconds:.0f} s: {self.tail()}")

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace").strip()[-600:]

    def stop(self, seconds: float = 20.0) -> None:
        """Ask the root to leave, then end whatever of the tree is left."""
        left = self.pids()
        self.root.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.root.wait(seconds)
        for number in (signal.SIGTERM, signal.SIGKILL):
            living = set(self.pids()) | {pid for pid in left if self._ours(pid)}
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            limit = time.monotonic() + 5
            while time.monotonic() < limit and self.pids():
                self.root.poll()
                time.sleep(0.1)
        self.root.wait(5)

    def _ours(self, pid: int) -> bool:
        """Whether an id still names a process of this tree and not one that came later."""
        try:
            return os.getsid(pid) == self.root.pid
        except ProcessLookupError:
            return False


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on, behind the name in brackets."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
