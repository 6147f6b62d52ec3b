"""Kill -9 at random instants under load, restart, continue: nothing acknowledged is lost, nothing is decided twice, and the
feature state ends bit for bit where an undisturbed run ends.

Usage: python -m benchmarks.crash [N kills] [--seed S]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import PILOTS, step, write
from flightworthy.decision.engine import Engine
from flightworthy.decision.line import Line
from flightworthy.decision.recovery import advance_from_ledger
from flightworthy.decision.rooms import Rooms
from flightworthy.governance.ledger import DECISION, OUTCOME
from flightworthy.integration.features import snapshot
from flightworthy.manifest.load import load
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged

BATCH, SNAPSHOT_EVERY = 64, 7
PREPARE = """
import sys
from pathlib import Path
from flightworthy.integration import sources
from flightworthy.manifest.load import load
from flightworthy.operation import learn
from flightworthy.pilots.fraud.simulate import Size, simulate
folder = Path(sys.argv[2])
made = simulate(folder, int(sys.argv[3]), Size(cards=1500, terminals=600))
pilot = load(Path(sys.argv[1]))
told = learn.outcomes_by_id(pilot, (folder / made["history_outcomes"]).read_bytes().splitlines())
rows = sources.rows(learn.open_source(str(folder / made["history"]), pilot).chunks())
learn.learn(pilot, learn.labelled(pilot, rows, told), folder / "var")
"""


def main() -> None:
    """Kill, restart, compare; write ``out/bench/crash.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("kills", nargs="?", type=int, default=200)
    args.add_argument("--seed", type=int, default=11)
    given = args.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with step("traffic, training, undisturbed run"):
            # Training runs elsewhere: this process forks, and must not have started the trainer's threads before.
            subprocess.run([sys.executable, "-c", PREPARE, str(PILOTS / "fraud"), str(folder), str(given.seed)], check=True)
            pid = os.fork()
            if pid == 0:
                _child(folder, folder / "calm", -1)
            os.waitpid(pid, 0)
        calm = _look(folder / "calm")
        if len(set(calm["state"])) != 1:
            raise SystemExit("the undisturbed run's snapshot and ledger disagree")
        found: dict[str, Any] = {"kills": 0, "epochs": 0, "acknowledged": 0, "lost": 0, "duplicated": 0, "missing": 0,
                                 "different_decisions": 0, "state_mismatches": 0, "slowest_restart_s": 0.0}
        with step(f"{given.kills} kills"):
            while found["kills"] < given.kills:
                _epoch(folder, rng, given.kills, calm, found)
    write("crash", found)
    if found["lost"] or found["duplicated"] or found["state_mismatches"] or found["different_decisions"] or found["missing"]:
        sys.exit(1)


def _epoch(folder: Path, rng: random.Random, kills: int, calm: dict[str, Any], found: dict[str, Any]) -> None:
    """Run the whole stream once, killed again and again until it or the budget of kills is through."""
    var = folder / "stormy"
    shutil.rmtree(var, ignore_errors=True)
    found["epochs"] += 1
    finished = False
    while not finished:
        reader, writer = os.pipe()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(folder, var, writer)
        os.close(writer)
        patience = rng.uniform(0.03, 0.5) if found["kills"] < kills else 3600.0
        acknowledged, finished, first = _wait(reader, pid, started + patience)
        found["kills"] += 0 if finished else 1
        found["acknowledged"] += len(acknowledged)
        found["slowest_restart_s"] = max(found["slowest_restart_s"], (first or started) - started)
        durable = _ids(var)
        found["lost"] += sum(1 for seq in acknowledged if seq not in durable)
        found["duplicated"] += len(durable) - len(set(durable.values()))
    stormy = _look(var)
    found["missing"] += len(calm["decisions"].keys() ^ stormy["decisions"].keys())
    found["different_decisions"] += sum(1 for k, v in stormy["decisions"].items() if calm["decisions"].get(k) != v)
    found["state_mismatches"] += int(stormy["state"] != calm["state"])


def _wait(reader: int, pid: int, until: float) -> tuple[list[int], bool, float | None]:
    """Read acknowledgements until the child ends or its time is up; then kill it."""
    os.set_blocking(reader, False)
    data, first = b"", None
    ended = 0
    while time.monotonic() < until and not ended:
        part = _read(reader)
        first = first or (time.monotonic() if part else None)
        data += part
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and status != 0:
            raise SystemExit(f"the child failed by itself (status {status})")
        time.sleep(0.002)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    data += _read(reader)
    os.close(reader)
    return [int(x) for x in data.split(b"\n")[:-1] if x], bool(ended), first


def _read(reader: int) -> bytes:
    out = b""
    while True:
        try:
            part = os.read(reader, 65536)
        except BlockingIOError:
            return out
        if not part:
            return out
        out += part


def _child(folder: Path, var: Path, writer: int) -> None:
    """Decide the stream from where the ledger says, telling every durable entry's number; never returns."""
    pilot = load(PILOTS / "fraud")
    if not (var / "models").exists():
        shutil.copytree(folder / "var", var, dirs_exist_ok=True)
    engine = Engine.open(pilot, var)
    told = engine.ledger.last()

    def tell(_: stream.StreamReport) -> None:
        nonlocal told
        last = engine.ledger.last()
        if writer >= 0:
            os.write(writer, b"".join(b"%d\n" % seq for seq in range(told + 1, last + 1)))
        told = last

    outcomes = [line for name in ("history", "live") for line in (folder / f"{name}_outcomes.ndjson").read_bytes().splitlines()]
    past, live = (learn.open_source(str(folder / f"{name}.ndjson"), pilot).chunks() for name in ("history", "live"))
    lots = merged(pilot, live, outcomes, history=past)
    stream.run(engine, lots, "live", batch=BATCH, key="live", watch=tell, snapshot_every=SNAPSHOT_EVERY)
    engine.close()
    os._exit(0)


def _ids(var: Path) -> dict[int, str]:
    """Entry number → kind and key, of all decisions and outcomes."""
    if not (var / "ledger.db").exists():
        return {}
    ledger = Rooms.of(load(PILOTS / "fraud"), var).open_ledger()
    found = {e.seq: f"{e.kind} {e.key}" + (f" {e.seq}" if e.kind == OUTCOME else "") for e in ledger.scan()}
    ledger.close()
    return found


def _look(var: Path) -> dict[str, Any]:
    """What a run left: each event's decision in substance, and the feature state, as saved and as the ledger rebuilds it.

    No model is opened here: its library starts threads, and this process goes on forking.
    """
    pilot = load(PILOTS / "fraud")
    rooms, line = Rooms.of(pilot, var), Line(pilot, {})
    ledger = rooms.open_ledger()
    decisions: dict[str, Any] = {}
    for entry in ledger.scan(1, (DECISION,)):
        record = msgspec.msgpack.decode(entry.content)
        decisions[entry.key] = {k: v for k, v in record.items() if k not in ("arrived", "decided", "clocks")}
    rebuilt, saved = line.state(), line.state()
    advance_from_ledger(line, rebuilt, ledger, 1)
    snapshot.restore(rooms.state / "features.npz", saved, pilot.recipe_digest)
    ledger.close()
    return {"decisions": decisions, "state": (rebuilt.digest(), saved.digest())}


if __name__ == "__main__":
    main()
