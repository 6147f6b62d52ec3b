"""A challenger whose model fails for five more decisions in a hundred, on a running service under load: how soon everybody is
back with the champion, how many decisions it touched, and whether a request failed; a watch that is killed; silence.

Usage: python -m benchmarks.service.rollback [--rollouts N] [--kills N] [--rate R requests a second]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import step, write
from benchmarks.service.callers import Callers, ask, wait_until
from benchmarks.service.running import Running
from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import ACT, DECISION
from flightworthy.ground.canonical import digest
from flightworthy.model.artifact import Artifact, ModelStore

FLAKY, LIFT = Path(__file__).parent / "flaky.py", 0.05
SERVICE = "service: {deadline: 300ms}\n"
LONGEST = 60.0  # seconds until a rollback is given up


def main() -> None:
    """Run all and write ``out/bench/rollback.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--rollouts", type=int, default=10)
    args.add_argument("--kills", type=int, default=20)
    args.add_argument("--rate", type=float, default=1000.0)
    args.add_argument("--seed", type=int, default=3)
    given = args.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        service = Running(Path(place), service=SERVICE)
        name = challenger(service)
        with step("silence"):
            silence = quiet(service, name)
        with step(f"{given.rollouts} rollouts at {given.rate:g} requests a second"):
            sent, rolled = rollouts(service, name, given.rollouts, given.rate)
        with step(f"{given.kills} kills of the watch"):
            more, double = killed(service, name, given.kills, given.rate, rng)
        service.stop()
        touched = told(service.var)
    seconds = [each["seconds"] for each in touched[1 : 1 + given.rollouts]]
    harmed = [each["failed"] for each in touched[1 : 1 + given.rollouts]]
    found = {"rollouts": given.rollouts, "rolled_back": rolled, "rate": sent.rate, "requests": sent.count + more.count,
             "failed_requests": sent.failed + more.failed, "seconds": statistics.median(seconds), "seconds_max": max(seconds),
             "harmful": max(harmed), "harmful_median": statistics.median(harmed),
             "challenged": max(each["challenged"] for each in touched[1 : 1 + given.rollouts]),
             "false_rollback_in_silence": silence, "watch_kills": given.kills, "double_acts": double}
    write("rollback", found)
    if found["failed_requests"] or silence or double or rolled < given.rollouts or max(seconds) > 10 or max(harmed) > 500:
        sys.exit(1)


class Sum:
    """What became of requests."""

    def __init__(self, callers: Callers, seconds: float) -> None:
        self.count = len(callers.sent)
        self.failed = sum(sent.status != 200 for sent in callers.sent)
        self.rate = self.count / seconds


def challenger(service: Running) -> str:
    """Store the failing model; its digest."""
    shutil.copy(FLAKY, service.pilot / FLAKY.name)
    store, code = ModelStore(service.var / "models"), digest(FLAKY.read_bytes()).hex()
    made = Artifact({**store.champion().content, "flavour": f"python:{FLAKY.name}:Flaky", "code": code, "parts": {"share": LIFT}})
    store.save(made, champion=False)
    return made.digest


def roll(service: Running, name: str, model: str = "") -> None:
    """Take a step. Raises `RuntimeError`."""
    status, said = ask(service.port, "PUT", "/v1/rollout", json.dumps({"step": name, "why": "proof", "model": model}).encode())
    if status != 200:
        raise RuntimeError(f"{name}: {status} {said}")


def state(service: Running) -> str:
    """How the rollout stands."""
    return str(ask(service.port, "GET", "/v1/rollout")[1][0]["state"])


def watching(service: Running) -> subprocess.Popen[bytes]:
    """The watch, in a process of its own."""
    with (service.var / "watch.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "flightworthy", "rollout", "watch", str(service.pilot), "--var",
                                 str(service.var), "--service", f"http://127.0.0.1:{service.port}", "--every", "500ms"],
                                stdout=log, stderr=log)


def quiet(service: Running, name: str) -> int:
    """A rollout without traffic is left as it is. How many times it was not."""
    roll(service, "start", name)
    watch = watching(service)
    time.sleep(8.0)
    acted = int(state(service) != "running" or watch.poll() is not None)
    end(watch)
    roll(service, "abort")
    return acted


def rollouts(service: Running, name: str, n: int, rate: float) -> tuple[Sum, int]:
    """Start a rollout under load, again and again; how many were rolled back."""
    callers, began, rolled = Callers(service.port, rate, threads=16, prefix="roll"), time.monotonic(), 0
    for _ in range(n):
        roll(service, "start", name)
        watch = watching(service)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: state(service) != "running", LONGEST)
        rolled += state(service) == "aborted"
        if state(service) == "running":
            roll(service, "abort")
        watch.wait(30)
    callers.stop()
    return Sum(callers, time.monotonic() - began), rolled


def killed(service: Running, name: str, n: int, rate: float, rng: random.Random) -> tuple[Sum, int]:
    """SIGKILL of the watch at random instants; how many rollouts had more than one end."""
    callers, began = Callers(service.port, rate / 5, threads=16, prefix="kill"), time.monotonic()
    roll(service, "start", name)
    for _ in range(n):
        watch = watching(service)
        time.sleep(rng.uniform(0.3, 3.0))
        end(watch)
        if state(service) != "running":
            roll(service, "start", name)
    if state(service) == "running":
        roll(service, "abort")
    callers.stop()
    steps = [act["said"] for act in acts(service.var)]
    ends = [said["rollout"] for said in steps if said["step"] == "abort"]
    return Sum(callers, time.monotonic() - began), len(ends) - len(set(ends))


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL."""
    process.kill()
    process.wait(30)


def acts(var: Path) -> list[dict[str, Any]]:
    """Steps of rollouts, in order."""
    ledger = open_ledger("sqlite:///ledger.db", var, read_only=True)
    found = [msgspec.msgpack.decode(entry.content) for entry in ledger.scan(1, (ACT,)) if entry.key == "rollout"]
    ledger.close()
    return found


def told(var: Path) -> list[dict[str, Any]]:
    """Each rollout by the ledger: seconds from start to end, decisions in the challenger's arm, and those its model failed."""
    ledger, out = open_ledger("sqlite:///ledger.db", var, read_only=True), list[dict[str, Any]]()
    for entry in ledger.scan(1, (DECISION, ACT)):
        if entry.kind == ACT and entry.key == "rollout":
            act = msgspec.msgpack.decode(entry.content)
            if act["said"]["step"] == "start":
                out.append({"began": act["arrived"], "challenged": 0, "failed": 0})
            else:
                out[-1]["seconds"] = (act["arrived"] - out[-1]["began"]) / 1e6
        elif entry.kind == DECISION and out and "seconds" not in out[-1]:
            record = msgspec.msgpack.decode(entry.content)
            if record["arm"] == "challenged":
                out[-1]["challenged"] += 1
                out[-1]["failed"] += record["path"][-1] != "challenger"
    ledger.close()
    return out


if __name__ == "__main__":
    main()
