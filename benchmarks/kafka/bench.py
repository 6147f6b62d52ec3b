"""From the broker to durable decisions to the broker: one worker and two, beside the same spine without Kafka, a bare loop with
the same client, and the same features and model in Quix Streams and PyFlink. Writes ``out/bench/kafka.json``.

Usage: python -m benchmarks.kafka.bench [--events N] [--peer-events N] [--seconds S] [--skip-peers]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.kafka import Kafka, flink_jars

from benchmarks import traffic
from benchmarks.common import on_disk, step, write
from benchmarks.kafka.chaos import finished
from benchmarks.kafka.live import capacity, halfway
from benchmarks.kafka.running import PARTITIONS, Workers, count, cpu_seconds, span, waited
from benchmarks.kafka.setting import PILOT, trained
from benchmarks.kafka.traffic import Mix, payments, produce
from benchmarks.service.envs import environment
from flightworthy.decision.engine import Engine
from flightworthy.manifest.load import load
from flightworthy.model.artifact import ModelStore
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged

PEERS = Path(__file__).parent / "peers"
_BROKER = "log.segment.delete.delay.ms=1000\n"  # a topic of the run before goes before the next one begins, not within it


def main() -> None:
    """Measure and write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--events", type=int, default=2_000_000)
    args.add_argument("--peer-events", type=int, default=60_000)
    args.add_argument("--seconds", type=int, default=20, help="at each load, and three times at half the capacity")
    args.add_argument("--skip-peers", action="store_true")
    given = args.parse_args()
    with tempfile.TemporaryDirectory(dir=on_disk()) as place:
        kafka = Kafka(Path(place) / "kafka", _BROKER)
        try:
            write("kafka", measure(kafka, Path(place), given))
        finally:
            kafka.stop()


def measure(kafka: Kafka, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Everything in turn; nothing beside it."""
    with step("training, messages"):
        trained(folder / "var")
        kafka.topic("payments", PARTITIONS)
        produce(kafka.servers, payments(given.events, Mix()), "payments")
    found: dict[str, Any] = {"events": given.events, "partitions": PARTITIONS}
    with step("without Kafka"):
        found["stream_without_kafka"] = own(folder)
    with step("bare loop"):
        found["bare_loop"] = statistics.median(bare(kafka, given.events // 4, run) for run in range(3))
    for number, name in ((1, "one_worker"), (2, "two_workers")):
        with step(name):
            found[name] = backlog(kafka, folder, name, number, given.events)
        with step(f"{name}, one by one"):
            found[name] |= capacity(kafka, folder, name, number, found[name]["decisions_per_second"], given.seconds)
        with step(f"{name}, half of what it keeps up with"):
            found[name] |= halfway(kafka, folder, name, number, found[name]["kept_up_per_second"] // 2, given.seconds)
    limits = {"bare consume-produce loop": found["bare_loop"], "the same spine without Kafka": found["stream_without_kafka"]}
    binding = min(limits, key=lambda name: limits[name])
    found["binding_limit"] = {"name": binding, "rate": limits[binding]}
    found["ratio_to_binding_limit"] = found["one_worker"]["decisions_per_second"] / limits[binding]
    found["seconds_for_2_million"] = 2_000_000 / max(found[n]["decisions_per_second"] for n in ("one_worker", "two_workers"))
    if not given.skip_peers:
        found["peers"] = peers(kafka, folder, given.peer_events)
        ours = found["one_worker"]["decisions_per_cpu_second"]
        for name, figures in found["peers"].items():
            found[f"ratio_to_{name}"] = ours / figures["decisions_per_cpu_second"]
            found[f"wall_ratio_to_{name}"] = found["one_worker"]["decisions_per_second"] / figures["decisions_per_second"]
    return found


def own(folder: Path, events: int = 400_000) -> float:
    """Decisions a second of the same pilot from a file, median of three."""
    pilot = load(PILOT)
    traffic.write(folder / "live.parquet", events, seed=2)
    rates = []
    for _ in range(3):
        shutil.copytree(folder / "var", folder / "own")
        engine = Engine.open(pilot, folder / "own", snapshots=False)
        report = stream.run(engine, merged(pilot, learn.open_source(str(folder / "live.parquet"), pilot).chunks()), "live")
        engine.ledger.close()
        rates.append(report.decisions / report.seconds)
        shutil.rmtree(folder / "own")
    return statistics.median(rates)


def bare(kafka: Kafka, events: int, run: int) -> float:
    """Events a second of the loop that does nothing."""
    kafka.topic(f"bare{run}", PARTITIONS)
    try:
        done = subprocess.run([sys.executable, "-m", "benchmarks.kafka.bare", kafka.servers, "payments", f"bare{run}",
                               str(events)], check=True, capture_output=True, text=True, timeout=300)
        return float(done.stdout)
    finally:
        kafka.forget(f"bare{run}")


def backlog(kafka: Kafka, folder: Path, name: str, number: int, events: int) -> dict[str, Any]:
    """All events wait already: decisions a second from the first to the last in the topic, by the broker's clock."""
    workers = Workers(kafka, folder, name, number, "payments")
    try:
        waited(lambda: count(kafka, f"{name}-out") > 0, 120)
        before, began = count(kafka, f"{name}-out"), workers.cpu()
        waited(lambda: finished(kafka.servers, name), 900)
        cpu = workers.cpu() - began
    finally:
        workers.end()
    seconds, total = span(kafka, f"{name}-out")
    assert total >= events, f"{total} decisions of {events}"
    kafka.forget(f"{name}-out")
    shutil.rmtree(workers.var)
    return {"decisions_per_second": total / seconds, "seconds": seconds, "decisions": total, "cpu_seconds": cpu,
            "decisions_per_cpu_second": (total - before) / cpu}


def peers(kafka: Kafka, folder: Path, events: int) -> dict[str, Any]:
    """The same in other systems, on the first events."""
    model = folder / "model.txt"
    model.write_text(ModelStore(folder / "var" / "models").champion().content["parts"]["booster"])
    kafka.topic("few", PARTITIONS)
    produce(kafka.servers, payments(events, Mix()), "few")
    out = {}
    for name, extra in (("quix", lambda: str(folder / "quix")), ("pyflink", lambda: str(flink_jars()))):
        with step(name):
            out[name] = peer(kafka, folder, name, [str(model), name, extra()], events)
    return out


def peer(kafka: Kafka, folder: Path, name: str, extra: list[str], events: int) -> dict[str, Any]:
    """One of them, until it has decided as many events."""
    python, versions = environment("flink" if name == "pyflink" else name, PEERS)
    (folder / name).mkdir()
    kafka.topic(f"{name}-out", PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
    script = PEERS / ("flink_peer.py" if name == "pyflink" else f"{name}_peer.py")
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(python), str(script), kafka.servers, "few", f"{name}-out", *extra], stdout=log, stderr=log,
            env={**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(PEERS)})
    try:
        waited(lambda: process.poll() is not None or count(kafka, f"{name}-out") > 0, 300)
        before, began = count(kafka, f"{name}-out"), used(process)
        waited(lambda: process.poll() is not None or count(kafka, f"{name}-out") >= events, 900)
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended: {(folder / f'{name}.log').read_text()[-2000:]}")
        cpu = used(process) - began
    finally:
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, 15)
        process.wait(60)
    seconds, total = span(kafka, f"{name}-out")
    return {"decisions_per_second": total / seconds, "decisions": total, "cpu_seconds": cpu,
            "decisions_per_cpu_second": (total - before) / cpu, "versions": versions}


def used(process: subprocess.Popen[bytes]) -> float:
    """Seconds of the processors of a process and all that it started."""
    return sum(cpu_seconds(pid) for pid in [process.pid, *children(process.pid)])


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    out = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True).stdout.split()
    return [found for child in map(int, out) for found in (child, *children(child))]


if __name__ == "__main__":
    main()
