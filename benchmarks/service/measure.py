"""Everything that is measured of one server."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from benchmarks.service import arrivals, load
from benchmarks.service.capacity import measured
from benchmarks.service.envs import CACHE, PeerError
from benchmarks.service.events import TIME_WIDTH, Payments, Template, payments, save, templates
from benchmarks.service.prepare import Ground
from benchmarks.service.processes import SERVER_CORE, Others, Tree
from benchmarks.service.servers import Server, started

CHECKED, DISTINCT, SHARES = 20, 4096, (25, 50, 80)
PROOF_RATE = 20_000.0


def measure(server: Server, ground: Ground, seconds: float) -> dict[str, Any]:
    """Scores checked, capacity, latency at shares of it, cost. Raises `PeerError`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE.absolute()))
    rows = payments(DISTINCT, seed=11)
    try:
        with started(server, ground, work) as (tree, port, versions):
            if tree.cores() != {SERVER_CORE}:
                raise PeerError(f"it runs on cores {sorted(tree.cores())}, not on {SERVER_CORE} alone")
            made = templates(rows, server.path, server.shape, port)
            save(made, work / "templates")
            found: dict[str, Any] = {"event_bytes": round(float(np.mean([_body(t) for t in made[:100]])))}
            if server.score is not None:
                found["score_error"] = check(server, ground, made, rows, port)
            found |= measured(tree, port, work / "templates", seconds, work)
            for share in SHARES:
                found |= latency(tree, port, found["rps"] * share / 100, share, work, seconds)
            if server.name.startswith("echo"):
                due = arrivals.constant(PROOF_RATE, seconds)
                found["generator_at_20000"] = load.steady(load.play(port, work / "templates", due, work))
            return {**found, "versions": versions, "processes": len(tree.pids())}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def latency(tree: Tree, port: int, rate: float, share: int, work: Path, seconds: float) -> dict[str, Any]:
    """Latency at one rate; every figure's name ends in the share of capacity."""
    before, others = tree.cpu_seconds(), Others(tree)
    played = load.play(port, work / "templates", arrivals.poisson(rate, seconds + load.WARM_SECONDS, seed=share), work)
    cpu = 1000 * (tree.cpu_seconds() - before) / len(played.due)
    return {f"{name}_at_{share}": value for name, value in {**load.steady(played), "cpu_s_per_1000": cpu,
                                                               "others_cores": others.cores()}.items()}


def check(server: Server, ground: Ground, made: list[Template], rows: Payments, port: int) -> float:
    """The greatest difference to LightGBM's own score over some events. Raises `PeerError` when it is too great."""
    assert server.score is not None
    expected = lightgbm.Booster(model_file=str(ground.model)).predict(rows.x[:CHECKED], num_threads=1)
    prefix, worst = secrets.token_hex(4), 0.0
    for i in range(CHECKED):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()).encode()
        assert len(stamp) == TIME_WIDTH
        answer = ask(made[i].fill(f"{prefix}{i:012d}".encode(), stamp), port)
        worst = max(worst, abs(server.score(answer) - float(expected[i])))
    if worst > server.tolerance:
        raise PeerError(f"its scores are wrong: off by {worst:.2e}, at most {server.tolerance:.0e} is allowed")
    return worst


def ask(request: bytes, port: int) -> Any:
    """The answer to a whole request. Raises `PeerError` when it is not 200."""
    head, _, body = request.partition(b"\r\n\r\n")
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        link.request("POST", head.split(b" ")[1].decode(), body, {"Content-Type": "application/json"})
        reply = link.getresponse()
        raw = reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise PeerError(f"it does not answer: {error}") from error
    finally:
        link.close()
    if reply.status != 200:
        raise PeerError(f"it answered {reply.status}: {raw[:300].decode(errors='replace')}")
    return json.loads(raw)


def _body(t: Template) -> int:
    whole = t.fill(b"#" * 20, b"@" * TIME_WIDTH)
    return len(whole.partition(b"\r\n\r\n")[2])
