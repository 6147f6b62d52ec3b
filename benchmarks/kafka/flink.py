"""The same events through our own worker and through a job on a local Flink cluster, whose task managers are killed meanwhile:
every decision, outcome and dead letter must be the same, in the same order. Writes ``out/bench/flink.json``.

Usage: python -m benchmarks.kafka.flink [--events N] [--kills N] [--engine "parallelism=2&backend=rocksdb"]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.flink import Flink
from services.kafka import Kafka, flink_jars

from benchmarks.common import on_disk, step, write
from benchmarks.kafka.looking import Found, dead_letters, decided, everything, seen
from benchmarks.kafka.running import count as counted
from benchmarks.kafka.setting import pilot_with, trained
from benchmarks.kafka.traffic import LIFE, payments, produce
from benchmarks.service.envs import locked
from flightworthy.decision.line import Line
from flightworthy.decision.rooms import load_models
from flightworthy.governance.ledger import DECISION, Entry
from flightworthy.manifest.load import load

PARTITIONS = 4
_PATIENCE = 1200


def main() -> None:
    """Run and write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--events", type=int, default=200_000)
    args.add_argument("--kills", type=int, default=2)
    args.add_argument("--engine", default="", help="more settings of the engine's address")
    given = args.parse_args()
    python, versions = locked("flink", Path("requirements/flink.lock"))
    with tempfile.TemporaryDirectory(dir=on_disk()) as place:
        kafka = Kafka(Path(place) / "kafka")
        try:
            found = compare(kafka, Path(place), python, given.events, given.kills, given.engine)
        finally:
            kafka.stop()
    write("flink", found | {"engine": given.engine or "parallelism=1&backend=hashmap", "versions": versions})
    sys.exit(1 if found["mismatches"] or found["kills"] < given.kills else 0)


def compare(kafka: Kafka, folder: Path, python: Path, events: int, kills: int, engine: str = "") -> dict[str, Any]:
    """Both, and where they differ."""
    with step("training, messages"):
        trained(folder / "var", min(150_000, max(20_000, events)))
        for name in ("payments", "frauds", "decided", "dead", "entries"):
            kafka.topic(name, PARTITIONS, {"message.timestamp.type": "LogAppendTime"} if name in ("decided", "entries") else {})
        sent = produce(kafka.servers, payments(events, LIFE), "payments", "frauds")
    with step("our own worker"):
        began = time.monotonic()
        subprocess.run([sys.executable, *_stream(kafka, folder), "--until-idle", "3"], check=True, timeout=_PATIENCE)
        took = time.monotonic() - began
    with step(f"a job in Flink, {kills} task managers killed"):
        flink = Flink(folder / "flink", python)
        try:
            done, seconds = in_flink(kafka, folder, python, flink, sum(sent), kills, engine)
        finally:
            flink.stop()
    expected = [decided(_manifest(folder), folder / "var", number, PARTITIONS) for number in range(PARTITIONS)]
    heard, repeated, differently = told(kafka.servers, folder)
    return {"events": events, "messages": sum(sent), "decisions": sum(one.decisions for one in expected), "kills": done,
            "mismatches": mismatches(expected, heard) + wrong(kafka, expected) + differently,
            "repeated_entries": repeated,
            "flink_seconds": seconds, "flink_entries_per_second": pace(kafka.servers),
            "worker_seconds_with_its_start_and_end": took}


def _manifest(folder: Path) -> Path:
    return pilot_with(folder, name="flinktest")


def _stream(kafka: Kafka, folder: Path) -> list[str]:
    return ["-m", "flightworthy", "stream", str(_manifest(folder)), "--var", str(folder / "var"), "--events",
            kafka.url("payments"), "--outcomes", kafka.url("frauds")]


def in_flink(kafka: Kafka, folder: Path, python: Path, flink: Flink, messages: int, kills: int,
             more: str) -> tuple[int, float]:
    """Submit the job and kill task managers as it goes; how many were killed, and seconds until it ended."""
    engine = f"{flink.url}?checkpoints={(folder / 'checkpoints').as_uri()}&every=3s&jars={flink_jars()}&{more}"
    command = [str(python), *_stream(kafka, folder), "--decisions", kafka.url("decided"), "--dead-letters", kafka.url("dead"),
               "--entries", kafka.url("entries"), "--until-idle", "1", "--engine", engine]
    began, done = time.monotonic(), 0
    with (folder / "job.log").open("ab") as log:
        job = subprocess.Popen(command, stdout=log, stderr=log,
                               env={**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"})
    try:
        for kill in range(1, kills + 1):
            _waited(lambda kill=kill: job.poll() is not None or count(kafka) > messages * kill / (kills + 2), job)
            if job.poll() is None:
                flink.kill()
                flink.add()
                done += 1
        _waited(lambda: job.poll() is not None, job)
        if job.returncode:
            raise RuntimeError(f"the job failed: {(folder / 'job.log').read_text()[-3000:]}")
        return done, time.monotonic() - began
    finally:
        if job.poll() is None:
            job.kill()


def _waited(over: Callable[[], bool], job: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while not over():
        if time.monotonic() > end:
            job.kill()
            raise TimeoutError("the job takes too long")
        time.sleep(0.5)


def count(kafka: Kafka) -> int:
    """Entries that left so far."""
    return counted(kafka, "entries")


def pace(servers: str) -> float:
    """Entries a second over the last third, when nobody is killed any more, by the broker's clock."""
    stamps = sorted(message.timestamp()[1] for message in everything(servers, "entries"))
    last = stamps[2 * len(stamps) // 3 :]
    return 1000 * len(last) / max(1, last[-1] - last[0])


def told(servers: str, folder: Path) -> tuple[list[Found], int, int]:
    """What the topic of entries says of each partition, how many entries it says more than once, and how many of these it does
    not say in the same words."""
    pilot = load(_manifest(folder))
    line = Line(pilot, load_models(pilot, folder / "var" / "models"))
    found, repeated, differently = [Found() for _ in range(PARTITIONS)], 0, 0
    entries: list[dict[int, tuple[str, str, bytes]]] = [{} for _ in range(PARTITIONS)]
    for message in everything(servers, "entries"):
        said = {name: value.decode() for name, value in message.headers()}
        entry = Entry(int(said["seq"]), said["kind"], said["key"], message.value(), b"")
        record = line.records.read(entry)
        bits = seen(record) if entry.kind == DECISION else f"{record.label} {record.known_at}".encode()
        known = entries[int(said["partition"])]
        repeated += entry.seq in known
        differently += known.setdefault(entry.seq, (entry.key, entry.kind, bits)) != (entry.key, entry.kind, bits)
    for one, known in zip(found, entries, strict=True):
        for seq in sorted(known):
            key, kind, bits = known[seq]
            one.order.append(f"{kind[0]} {key}")
            if kind == DECISION:
                one.features[key] = bits
                one.decisions += 1
    return found, repeated, differently


def mismatches(expected: list[Found], heard: list[Found]) -> int:
    """Decisions that only one has, or that differ in a bit, and partitions whose entries stand in another order."""
    out = 0
    for ours, theirs in zip(expected, heard, strict=True):
        names = ours.features.keys() | theirs.features.keys()
        out += sum(ours.features.get(name) != theirs.features.get(name) for name in names) + (ours.order != theirs.order)
    return out


def wrong(kafka: Kafka, expected: list[Found]) -> int:
    """Dead letters and decisions in their topic that are not those of our own worker."""
    letters = set().union(*(one.quarantined for one in expected)) ^ dead_letters(kafka.servers, "dead")
    names = {value[7 : value.index(b'"', 7)].decode() for message in everything(kafka.servers, "decided")
             if (value := message.value())}
    return len(letters) + len(names ^ set().union(*(one.features.keys() for one in expected)))


if __name__ == "__main__":
    main()
