"""A million broken requests against the running service: no crash, no 5xx, flat memory.

Bodies are changed and sent many to a connection; heads are changed and sent alone, since nobody can tell where a broken one ends.

Usage: python -m benchmarks.service.mutated [N requests] [--seed S]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, step, write
from benchmarks.fuzz import mutate
from benchmarks.service.callers import ask
from benchmarks.service.events import event, payments
from benchmarks.service.processes import memory_mb
from benchmarks.service.running import Running

PATHS = (b"/v1/decisions", b"/v1/decisions", b"/v1/outcomes", b"/v2/models/service-bench/infer", b"/v1/kill-switch",
         b"/v1/reload", b"/metrics")
TOGETHER, STEPS, HEADS, SILENCE = 25, 20, 0.05, 0.05
LAST = b"GET /health/live HTTP/1.1\r\nconnection: close\r\nhost: x\r\n\r\n"
ALLOWED = {"200", "400", "404", "405", "408", "409", "411", "413", "422", "431", "501", "none"}


def main() -> None:
    """Send, watch, and write ``out/bench/service_fuzz.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("requests", nargs="?", type=int, default=1_000_000)
    args.add_argument("--seed", type=int, default=1)
    given = args.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        service = Running(folder, service="service: {deadline: 5s}\n")  # time is not looked for here
        found = fuzz(service, given.requests, random.Random(given.seed))
        write("service_fuzz", found)
        service.stop()
        if found["crashes"] or found["server_errors"]:
            shutil.copy(folder / "var" / "service.log", OUT / "service_fuzz.log")
            sys.exit(f"→ {OUT / 'service_fuzz.log'}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fuzz(service: Running, requests: int, rng: random.Random) -> dict[str, Any]:
    """Statuses, and memory at the end of each step."""
    made = payments(500, seed=2)
    statuses: Counter[str] = Counter()
    memory = []
    with step(f"{requests:,} mutated requests"):
        for step_number in range(STEPS):
            # Of this moment: changed events that are still good ones shall be decided, not refused as late.
            now = {"tx_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            rows = [json.dumps({**event(made, i), **now, "transaction_id": f"M{step_number}-{i}"}).encode() for i in range(500)]
            sent = 0
            while sent < requests / STEPS:
                picked = [rng.choice(rows) for _ in range(TOGETHER)]
                if rng.random() < HEADS:
                    statuses.update(alone(service.port, [broken(rng, row) for row in picked]))
                else:
                    statuses.update(together(service.port, [request(rng, mutate(rng, row)) for row in picked]))
                sent += TOGETHER
            memory.append(round(memory_mb([service.process.pid, service.shard()])["pss"], 1))
    quarter = len(memory) // 4  # caches of a fixed size fill in the first half
    grown = sum(memory[-quarter:]) / sum(memory[-2 * quarter : -quarter])
    return {"requests": sum(statuses.values()), "statuses": dict(sorted(statuses.items())),
            "server_errors": sum(n for status, n in statuses.items() if status.startswith("5") and status != "501"),
            "undocumented": {status: n for status, n in statuses.items() if status not in ALLOWED},
            "crashes": int(service.process.poll() is not None) + restarts(service.port), "memory_mb": memory,
            "memory_last_quarter_to_third": grown, "memory_flat": grown <= 1.05, "ready_after": service.ready()}


def restarts(port: int) -> int:
    """How often a shard was started again."""
    found: int = ask(port, "GET", "/v1/shards")[1][0]["restarts"]
    return found


def request(rng: random.Random, body: bytes) -> bytes:
    """A whole request with this body, and a head without fault."""
    method = b"PUT" if rng.random() < 0.1 else b"POST"
    return b"%s %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (method, rng.choice(PATHS), len(body), body)


def together(port: int, requests: list[bytes]) -> Counter[str]:
    """Statuses of requests sent in one piece; each must be answered."""
    found = Counter(talk(port, b"".join(requests) + LAST))
    found["200"] -= 1
    missing = len(requests) - sum(found.values())
    return found + Counter({"unanswered": missing} if missing else {})


def broken(rng: random.Random, body: bytes) -> bytes:
    """A whole request whose head was changed too."""
    raw = bytearray(request(rng, body).replace(b"host: x", b"host: x\r\nconnection: close", 1))
    head = raw.index(b"\r\n\r\n") + 4
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(head)
        raw[at : at + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
    return bytes(raw)


def alone(port: int, requests: list[bytes]) -> Counter[str]:
    """Statuses of requests with a connection each; 'none' where the service waits for more, or hung up."""
    links = []
    for content in requests:
        link = socket.create_connection(("127.0.0.1", port), timeout=30)
        with contextlib.suppress(ConnectionError):
            link.sendall(content)
        links.append(link)
    until = time.monotonic() + SILENCE
    return Counter([(hear(link, max(0.001, until - time.monotonic())) or ["none"])[0] for link in links])


def talk(port: int, content: bytes) -> list[str]:
    """Statuses of all that comes back until the other side closes."""
    link = socket.create_connection(("127.0.0.1", port), timeout=30)
    with contextlib.suppress(ConnectionError):
        link.sendall(content)
    return hear(link, 30.0)


def hear(link: socket.socket, patience: float) -> list[str]:
    """Statuses of whatever comes until the other side closes, or is silent for so long."""
    got = b""
    with link, contextlib.suppress(TimeoutError, ConnectionError):  # what came until then counts
        link.settimeout(patience)
        while part := link.recv(1 << 16):
            got += part
    return [part[:3].decode("latin-1") for part in got.split(b"HTTP/1.1 ")[1:]]


if __name__ == "__main__":
    main()
