"""The service killed at random instants under load by callers who try again: each event is decided once, and asked again it is
answered the same. Then SIGTERM and reloads under load: no request fails, none is answered by a mixture of versions.

Usage: python -m benchmarks.service.crash [KILLS] [--terms N] [--reloads N] [--seed S]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import step, write
from benchmarks.service.callers import Callers, Sent, ask, body_of, wait_until
from benchmarks.service.running import Running

REFUSE = "service: {deadline: 2s}\n"
RATE = 200.0


def main() -> None:
    """Run all three and write ``out/bench/service_crash.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("kills", nargs="?", type=int, default=200)
    args.add_argument("--terms", type=int, default=50)
    args.add_argument("--reloads", type=int, default=500)
    args.add_argument("--seed", type=int, default=5)
    given = args.parse_args()
    rng = random.Random(given.seed)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        service = Running(Path(place), service=REFUSE)
        with step(f"{given.kills} kills"):
            found |= kills(service, rng, given.kills)
        with step(f"{given.terms} times SIGTERM"):
            found |= terms(service, rng, given.terms)
        with step(f"{given.reloads} reloads"):
            found |= reloads(service, given.reloads)
        service.stop()
    write("service_crash", found)
    if any(found[key] for key in ("lost", "duplicated", "different_on_retry", "unanswered", "sigterm_failed", "reload_failed",
                                  "mixed_versions")):
        sys.exit(1)


def kills(service: Running, rng: random.Random, n: int) -> dict[str, Any]:
    """SIGKILL of the shard, or (one time in four) of the whole service, which is then started again."""
    callers = Callers(service.port, RATE, again=True, prefix="kill")
    whole, restarts = 0, []
    for _ in range(n):
        time.sleep(rng.uniform(0.0, 0.25))
        started = time.monotonic()
        if rng.random() < 0.25:
            whole += 1
            service.process.kill()
            service.process.wait()
            service.start()
        else:
            os.kill(service.shard(), signal.SIGKILL)
            wait_until(service.ready, 60)
        restarts.append(time.monotonic() - started)
    callers.stop()
    answered = {s.id: s.said for s in callers.sent if s.status == 200}
    last = {s.id: s.status for s in callers.sent}
    wait_until(service.ready, 60)
    different = sum(ask(service.port, "POST", "/v1/decisions", body_of(name, 0)) != (200, said)
                    for name, said in rng.sample(sorted(answered.items()), min(500, len(answered))))
    decided, _ = service.logged()
    restarts.sort()
    return {"kills": n, "kills_of_everything": whole, "acknowledged": len(answered),
            "lost": sum(name not in decided for name in answered),
            "duplicated": sum(len(records) > 1 for records in decided.values()), "different_on_retry": different,
            "unanswered": sum(status != 200 for status in last.values()), "restart_s_median": restarts[len(restarts) // 2],
            "restart_s_worst": restarts[-1]}


def terms(service: Running, rng: random.Random, n: int) -> dict[str, Any]:
    """SIGTERM under load: whatever was sent on an open connection must be answered."""
    sent, failures = 0, []
    for i in range(n):
        callers = Callers(service.port, RATE, prefix=f"term{i}")
        time.sleep(rng.uniform(0.1, 0.6))
        service.stop()
        callers.stop()
        failures += [f"{s.status} after {s.took:.3f} s" for s in callers.sent if s.status != 200]
        sent += len(callers.sent)
        service.start()
    return {"sigterms": n, "sigterm_requests": sent, "sigterm_failed": len(failures),
            "sigterm_failures": failures[:10]}


def reloads(service: Running, n: int) -> dict[str, Any]:
    """Two versions of the policy in turn, now and then one that does not hold; an answer must be one version's as a whole."""
    callers, refused = Callers(service.port, RATE, prefix="reload"), 0
    digests: dict[str, str] = {}
    for i in range(n):
        broken = i % 10 == 9
        service.write(("score > 0.6, then: decline", "scor > 0.6, then: decline" if broken else
                       f"score > {0.0 if i % 2 else 0.6}, then: decline"))
        status, said = ask(service.port, "POST", "/v1/reload", b'{"why": "drill"}')
        if status == 200:
            digests[said["pilot"]] = "all" if i % 2 else "usual"
        refused += status == 409
        if (status == 409) != broken:
            raise RuntimeError(f"a reload was answered by {status}: {said}")
    callers.stop()
    service.write()
    ask(service.port, "POST", "/v1/reload", b'{"why": "drill over"}')
    return {"reloads": n, "reloads_refused": refused, "reload_requests": len(callers.sent),
            "reload_failed": sum(s.status != 200 for s in callers.sent),
            "mixed_versions": sum(_mixed(s, digests) for s in callers.sent if s.status == 200)}


def _mixed(sent: Sent, digests: dict[str, str]) -> bool:
    """Whether the action is not what the named version says: one declines everybody, the other only high scores."""
    said, version = sent.said, digests.get(sent.said["pilot"], "usual")
    if said["by"] != "champion":
        return False
    return bool((said["action"] == "decline") != (version == "all" or said["outputs"]["score"] > 0.6))


if __name__ == "__main__":
    main()
