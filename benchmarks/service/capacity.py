"""Capacity in a closed loop: wrk keeps a number of connections busy and counts what comes back."""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.service.envs import PeerError
from benchmarks.service.processes import LOAD_CORE, Others, Tree

CONNECTIONS = (64, 256)  # each server is given the number it does better with
SCRIPT = Path(__file__).parent / "wrk.lua"


def wrk() -> str:
    """The path of wrk; installed through apt where it can be. Raises `PeerError`."""
    found = shutil.which("wrk")
    if found is None:
        print("wrk is missing: apt-get install wrk")
        subprocess.run(["apt-get", "install", "-y", "-q", "wrk"], capture_output=True, timeout=300, check=False)
        found = shutil.which("wrk")
    if found is None:
        raise PeerError("wrk is not installed: apt-get install wrk")
    return found


def closed_loop(port: int, templates: Path, seconds: float, folder: Path, connections: int) -> dict[str, Any]:
    """Requests a second that were answered with a status below 400, errors, and the share of its core that wrk took."""
    result = folder / "wrk.json"
    result.unlink(missing_ok=True)
    environ = {"WRK_TEMPLATES": str(templates), "WRK_PREFIX": secrets.token_hex(4), "WRK_RESULT": str(result)}
    command = ["taskset", "-c", str(LOAD_CORE), wrk(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s",
               "--timeout", "10s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=seconds + 60,
                          check=False)
    if done.returncode != 0 or not result.exists():
        raise PeerError(f"wrk failed: {(done.stderr or done.stdout).strip()[-400:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    share = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / found["seconds"]
    errors = sum(found[kind] for kind in ("status", "connect", "read", "write", "timeout"))
    return {"rps": (found["requests"] - found["status"]) / found["seconds"], "requests": found["requests"], "errors": errors,
            "refused": found["status"], "cpu_share": share}


def measured(tree: Tree, port: int, templates: Path, seconds: float, folder: Path) -> dict[str, Any]:
    """Capacity after a short warm-up, with the CPU time and memory it took: the better of the numbers of connections, each
    measured for the whole time (a short trial has chosen the worse one)."""
    closed_loop(port, templates, max(2.0, seconds / 4), folder, CONNECTIONS[0])
    return max((_measured(tree, port, templates, seconds, folder, n) for n in CONNECTIONS), key=lambda found: found["rps"])


def _measured(tree: Tree, port: int, templates: Path, seconds: float, folder: Path, connections: int) -> dict[str, Any]:
    before, others = tree.cpu_seconds(), Others(tree)
    found = closed_loop(port, templates, seconds, folder, connections)
    used = tree.cpu_seconds() - before
    if found["rps"] < 1:
        raise PeerError(f"{found['requests']} answers and {found['errors']} errors in {seconds:g} s")
    busy, memory = others.cores(), tree.memory_mb()
    return {"rps": found["rps"], "connections": connections, "errors": found["errors"],
            "cpu_s_per_1000": 1000 * used / max(1, found["requests"]),
            "rss_mb": memory["rss"], "pss_mb": memory["pss"], "wrk_cpu_share": found["cpu_share"], "others_cores": busy}
