"""Every adapter of the service in turn slow, hanging, failing, flapping and killed, under load: who is answered in time, by what,
and whether every answer has its durable record.

Usage: python -m benchmarks.service.faults [--seconds S of each fault] [--rate R requests a second]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import step, write
from benchmarks.service.callers import Callers, Sent, wait_until
from benchmarks.service.running import DEADLINE, Running

LEDGER = "adapters: {ledger: 'faulty+sqlite:///ledger.db?file=faults'}\n"
RUNTIME = "adapters: {runtime: 'faulty+inprocess:?file=faults'}\n"
ADAPTERS = {"ledger": LEDGER, "runtime": RUNTIME, "shard": ""}
MATRIX = [("ledger", "slow", "latency=1:20ms&only=commit"), ("ledger", "hanging", "hang=0.3:2s&only=commit"),
          ("ledger", "failing", "error=1"), ("ledger", "failing now and then", "error=0.1"),
          ("ledger", "flapping", "flap=500ms:500ms"), ("ledger", "partial writes", "partial=0.3&only=commit"),
          ("ledger", "lost acknowledgements", "lost=0.3&only=commit"),
          ("runtime", "slow", "latency=1:20ms"), ("runtime", "hanging", "hang=0.3:2s"), ("runtime", "failing", "error=1"),
          ("runtime", "flapping", "flap=500ms:500ms"), ("runtime", "partial answers", "partial=0.5"),
          ("shard", "stopped", "SIGSTOP"), ("shard", "killed again and again", "SIGKILL")]


def main() -> None:
    """Run the matrix and write ``out/bench/fault.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=5.0)
    args.add_argument("--rate", type=float, default=150.0)
    given = args.parse_args()
    rows = []
    for adapter, declared in ADAPTERS.items():
        with tempfile.TemporaryDirectory() as place:
            service = Running(Path(place), declared)
            parts = [(name, words, *_strike(service, adapter, name, words, given))
                     for kind, name, words in MATRIX if kind == adapter]
            wait_until(service.drained, 60)
            service.stop()
            logged = service.logged()
            rows += [{"adapter": adapter, "fault": name, "declared": words, **_judge(sent, logged), "recovery_s": took}
                     for name, words, sent, took in parts]
    total = sum(row["requests"] for row in rows)
    in_time = sum(row["in_deadline"] for row in rows)
    write("fault", {"requests": total, "deadline_ms": 1000 * DEADLINE, "in_deadline_share": in_time / total,
                    "by_fallback": sum(row["by_fallback"] for row in rows), "unlogged": sum(row["unlogged"] for row in rows),
                    "matrix": {f"{row['adapter']}, {row['fault']}": row for row in rows}})
    print(table(rows))
    if any(row["unlogged"] for row in rows) or in_time / total < 0.9999:
        sys.exit(1)


def _strike(service: Running, adapter: str, name: str, words: str, given: argparse.Namespace) -> tuple[list[Sent], float]:
    """Load, and in its midst the fault; what was sent, and how long until the champion decides again."""
    with step(f"{adapter}: {name}"):
        callers = Callers(service.port, given.rate, prefix=f"{adapter}-{name.replace(' ', '')}")
        time.sleep(1.0)
        heal = _break(service, words, given.seconds)
        healed = time.monotonic()
        heal()
        time.sleep(1.0)
        wait_until(lambda: any(s.at > healed and s.said.get("path") == ["champion"] for s in callers.sent[-50:]), 30)
        recovery = min((s.at for s in callers.sent if s.at > healed and s.said.get("path") == ["champion"]), default=0.0) - healed
        wait_until(service.ready, 30)
        callers.stop()
    return callers.sent, max(0.0, recovery)


def _break(service: Running, words: str, seconds: float) -> Callable[[], Any]:
    """Keep it broken for so long; what mends it."""
    if words == "SIGSTOP":
        pid = service.shard()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        return lambda: os.kill(pid, signal.SIGCONT)
    if words == "SIGKILL":
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            wait_until(service.ready, 30)
            os.kill(service.shard(), signal.SIGKILL)
            time.sleep(0.3)
        return lambda: None
    service.faults(words)
    time.sleep(seconds)
    return lambda: service.faults("")


def _judge(sent: list[Sent], logged: tuple[Any, Any]) -> dict[str, Any]:
    """Of the answers: in time, by what, and whether the ledger says the same."""
    decided, answered = logged
    good = [s for s in sent if s.status == 200]
    unlogged = 0
    for s in good:
        told = answered.get(s.id)
        actions = [told["action"]] if told is not None else [record["action"] for record in decided.get(s.id, [])]
        unlogged += actions != [s.said["action"]]
    ways = Counter(s.said["path"][-1] for s in good)
    took = sorted(s.took for s in sent)
    return {"requests": len(sent), "in_deadline": sum(s.status == 200 and s.took <= DEADLINE for s in sent),
            "refused": sum(s.status == 503 for s in sent), "no_answer": sum(s.status == 0 for s in sent),
            "by_fallback": sum(s.said["path"] != ["champion"] for s in good), "ways": dict(ways), "unlogged": unlogged,
            "p50_ms": 1000 * took[len(took) // 2], "p99_ms": 1000 * took[int(len(took) * 0.99)], "max_ms": 1000 * took[-1]}


def table(rows: list[dict[str, Any]]) -> str:
    """The matrix in Markdown."""
    out = ["| adapter | fault | requests | answered in time | refused | by fallback | without record | p99 ms | recovery s |",
           "|---|---|---|---|---|---|---|---|---|"]
    out += [f"| {r['adapter']} | {r['fault']} | {r['requests']:,} | {r['in_deadline'] / r['requests']:.2%} | {r['refused']} | "
            f"{r['by_fallback']} | {r['unlogged']} | {r['p99_ms']:.0f} | {r['recovery_s']:.1f} |" for r in rows]
    return "\n".join(out)


if __name__ == "__main__":
    main()
