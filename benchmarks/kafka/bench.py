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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from services.kafka import Kafka, flink_jars

from benchmarks import traffic
from benchmarks.common import on_disk, step, write
from benchmarks.kafka.chaos import finished
from benchmarks.kafka.looking import everything
from benchmarks.kafka.setting import PILOT, pilot_with, trained
from benchmarks.kafka.traffic import Mix, payments, produce
from benchmarks.service.envs import environment
from flightworthy.decision.engine import Engine
from flightworthy.manifest.load import load
from flightworthy.model.artifact import ModelStore
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged

PARTITIONS = 4
PEERS = Path(__file__).parent / "peers"
_NEW = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
_TICKS = os.sysconf("SC_CLK_TCK")
_BROKER = "log.segment.delete.delay.ms=1000\n"  # a topic of the run before goes before the next one begins, not within it
_LONG = 60  # seconds at half the capacity before it is measured: a broker's virtual machine compiles for so long


def main() -> None:
    """Measure and write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--events", type=int, default=2_000_000)
    args.add_argument("--peer-events", type=int, default=60_000)
    args.add_argument("--seconds", type=int, default=20, help="at half the capacity, three times")
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
        with step(f"{name}, half of that"):
            rate = int(found[name]["decisions_per_second"] / 2)
            found[name].update(halfway(kafka, folder, name, number, rate, given.seconds))
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


class Workers:
    """Processes with one pilot, and the time they took of the processors."""

    def __init__(self, kafka: Kafka, folder: Path, name: str, number: int, events: str) -> None:
        self.var = folder / name
        shutil.copytree(folder / "var", self.var)
        manifest = pilot_with(self.var, name=name)
        self._command = [sys.executable, "-m", "flightworthy", "stream", str(manifest), "--var", str(self.var), "--events",
                         kafka.url(f"{events}?group={name}"), "--decisions", kafka.url(f"{name}-out")]
        kafka.topic(f"{name}-out", PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
        self._log = (folder / f"{name}.log").open("ab")
        self._all = [subprocess.Popen(self._command, stdout=self._log, stderr=self._log) for _ in range(number)]

    def cpu(self) -> float:
        """Seconds of the processors, user and system, since each started."""
        return sum(cpu_seconds(process.pid) for process in self._all)

    def end(self) -> None:
        """In order."""
        for process in self._all:
            process.terminate()
        for process in self._all:
            process.wait(120)
        self._log.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


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


def span(kafka: Kafka, topic: str) -> tuple[float, int]:
    """Seconds from a topic's first message to its last, by the broker's clock, and how many there are."""
    consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": "span", "enable.auto.commit": False})
    first, last, total = [], [], 0
    try:
        for number in range(PARTITIONS):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            total += high - low
            for offset, into in ((low, first), (high - 1, last)):
                if high > low:
                    consumer.assign([TopicPartition(topic, number, offset)])
                    message = consumer.poll(10)
                    into.append(message.timestamp()[1])
    finally:
        consumer.close()
    return (max(last) - min(first)) / 1000, total


class Bare:
    """The loop that does nothing, as a process beside a sender."""

    def __init__(self, kafka: Kafka, name: str) -> None:
        kafka.topic(f"{name}-out", PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.kafka.bare", kafka.servers, name, f"{name}-out",
                                          str(10**12), "named"])

    def end(self) -> None:
        """It keeps nothing."""
        self._process.kill()
        self._process.wait()


def halfway(kafka: Kafka, folder: Path, name: str, number: int, rate: int, seconds: int, runs: int = 3) -> dict[str, Any]:
    """Medians of several runs: of one alone the machine's other moments decide. A long one comes before, so that the broker's
    virtual machine has compiled what these need: one that runs for days has. After each the loop that does nothing gets the
    same."""
    def run(name: str, start: Callable[[], Workers | Bare], seconds: int = seconds) -> dict[str, Any]:
        return steady(kafka, folder, name, start, rate, seconds)

    run(f"{name}-warm", lambda: Workers(kafka, folder, f"{name}-warm", number, f"{name}-warm"), _LONG)
    found, floor = [], []
    for one in (f"{name}-half{n}" for n in range(runs)):
        found.append(run(one, lambda one=one: Workers(kafka, folder, one, number, one)))  # type: ignore[misc]
        floor.append(run(f"{one}-bare", lambda one=one: Bare(kafka, f"{one}-bare")))  # type: ignore[misc]
    out: dict[str, Any] = {key: statistics.median(one[key] for one in found) for key in found[0]}
    out |= {f"bare_{key}": statistics.median(one[key] for one in floor) for key in ("p50_ms_at_50", "p99_ms_at_50")}
    return out | {"p99_ms_of_each_run": [one["p99_ms_at_50"] for one in found],
                  "bare_p99_ms_of_each_run": [one["p99_ms_at_50"] for one in floor]}


def steady(kafka: Kafka, folder: Path, name: str, start: Callable[[], Workers | Bare], rate: int,
           seconds: int) -> dict[str, Any]:
    """Latency from the instant a payment was due to its decision in the broker, the first seconds left out."""
    kafka.topic(name, PARTITIONS)
    workers = start()
    try:
        time.sleep(8)  # until they have joined
        warm = 5
        sender = subprocess.Popen([sys.executable, "-m", "benchmarks.kafka.steady", kafka.servers, name, str(rate),
                                   str(seconds + warm), "0"], stdout=subprocess.PIPE, text=True)
        late, idle = watched(sender, 2.0 * warm, seconds + 120)
        time.sleep(3)
    finally:
        workers.end()
    due = {event_id(message.value()): message.timestamp()[1] for message in everything(kafka.servers, name)}
    started = min(due.values()) + 1000 * warm
    told = ((message.timestamp()[1], due[decision_id(message.value())]) for message in everything(kafka.servers, f"{name}-out"))
    took = sorted(told_at - due_at for told_at, due_at in told if due_at >= started)
    shutil.rmtree(folder / name, ignore_errors=True)
    kafka.forget(name, f"{name}-out")
    return {"half_rate": rate, "latencies": len(took), "sender_late_ms": late, "idle_share_at_50": idle,
            **{f"p{p}_ms_at_50": took[int(len(took) * p / 100)] for p in (50, 99)}, "p999_ms_at_50": took[int(len(took) * 0.999)]}


def watched(sender: subprocess.Popen[str], warm: float, patience: float) -> tuple[float, float]:
    """Milliseconds a sender says that it was late at most; share of the processors that nobody used, from so many seconds after
    its start until it ends."""
    try:
        time.sleep(warm)
        before = processors()
        said, _ = sender.communicate(timeout=patience)
    except BaseException:
        sender.kill()
        raise
    if sender.returncode:
        raise RuntimeError(f"the sender ended with {sender.returncode}")
    idle, total = (now - then for now, then in zip(processors(), before, strict=True))
    return float(said), idle / total


def processors() -> tuple[int, int]:
    """Ticks of all processors since the machine started: those that nobody used, and all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def event_id(value: bytes) -> bytes:
    """Of a payment."""
    return value[19 : value.index(b'"', 19)]


def decision_id(value: bytes) -> bytes:
    """Of a decision."""
    return value[7 : value.index(b'"', 7)]


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


def count(kafka: Kafka, topic: str) -> int:
    """Messages in a topic; none as long as a new one has no leader everywhere."""
    consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": "count"})
    try:
        return sum(high - low for low, high in (consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                                                for number in range(PARTITIONS)))
    except KafkaException as error:
        if error.args[0].code() not in _NEW:
            raise
        return 0
    finally:
        consumer.close()


def waited(done: Callable[[], bool], patience: float) -> None:
    """Returns when it is so. Raises `TimeoutError`."""
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("it took too long")
        time.sleep(0.3)


if __name__ == "__main__":
    main()
