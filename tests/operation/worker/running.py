"""Workers in processes of their own, and what they leave behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer
from services.kafka import Kafka

from flightworthy.adapters.kafka.factory import open_source
from flightworthy.decision.line import Line
from flightworthy.decision.replay import replay
from flightworthy.decision.rooms import Rooms, part_of
from flightworthy.manifest.load import load
from tests.conftest import PILOTS, Trained

DYING = Path(__file__).parent / "dying.py"


class Topics:
    """Of one test: events and outcomes go in, decisions and dead letters come out."""

    def __init__(self, kafka: Kafka, name: str, partitions: int) -> None:
        self.kafka, self.partitions = kafka, partitions
        self.events, self.outcomes, self.decisions, self.dead = (kafka.topic(f"{name}-{what}", partitions) for what in (
            "events", "outcomes", "decisions", "dead"))
        self.name = name
        self._producer = Producer({"bootstrap.servers": kafka.servers, "partitioner": "murmur2_random", "linger.ms": 1})

    def send(self, lines: list[bytes], what: str = "events", keys: list[str] | None = None, partition: int = -1,
             stamp: int = 0) -> None:
        """Records with the customer as their key."""
        for i, line in enumerate(lines):
            key = keys[i] if keys else _key(line)
            self._producer.produce(f"{self.name}-{what}", line, key, partition, timestamp=stamp)
            self._producer.poll(0)
        assert self._producer.flush(30) == 0

    def urls(self) -> list[str]:
        """Options of a worker."""
        return ["--events", f"{self.events}?group={self.name}", "--outcomes", self.outcomes, "--decisions", self.decisions,
                "--dead-letters", self.dead]

    def heard(self) -> list[dict[str, Any]]:
        """Decisions."""
        return [msgspec.json.decode(raw) for chunk in open_source(self.decisions).chunks() for raw in chunk.raws]

    def letters(self) -> list[tuple[dict[str, str], bytes]]:
        """Dead letters: headers and record."""
        from benchmarks.kafka.looking import everything

        return [({name: value.decode() for name, value in message.headers()}, message.value())
                for message in everything(self.kafka.servers, f"{self.name}-dead")]


def _key(line: bytes) -> str:
    try:
        return str(msgspec.json.decode(line)["customer_id"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return "none"


class Rig:
    """A pilot's rooms, its topics, and workers over them."""

    def __init__(self, trained: Trained, folder: Path, topics: Topics, adapters: str = "") -> None:
        self.folder, self.var, self.topics = folder / "pilot", folder / "var", topics
        shutil.copytree(PILOTS / "starter", self.folder)
        shutil.copytree(trained.var, self.var)
        with (self.folder / "pilot.yaml").open("a") as file:
            file.write(f"\nadapters: {{{adapters}}}\n" if adapters else "")
        self.log = folder / "log"
        self._started: list[subprocess.Popen[bytes]] = []

    def worker(self, *options: str, dying: tuple[str, int] | None = None) -> subprocess.Popen[bytes]:
        """Start one; ``dying``: at which gap, and at the how-manieth time there, it ends itself with SIGKILL."""
        program = ["-m", "flightworthy"] if dying is None else [str(DYING), dying[0], str(dying[1])]
        with self.log.open("ab") as out:
            process = subprocess.Popen([sys.executable, *program, "stream", str(self.folder), "--var", str(self.var),
                                        *self.topics.urls(), *options], stdout=out, stderr=out,
                                       env={**os.environ, "OMP_NUM_THREADS": "1"})
        self._started.append(process)
        return process

    def finish(self, *options: str) -> None:
        """A worker that decides all there is, in order."""
        done = self.worker("--until-idle", "1.5", *options).wait(90)
        assert done == 0, self.log.read_text()[-3000:]

    def end(self) -> None:
        """Nothing may be left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def ledgers(self) -> list[Any]:
        """Of all partitions, for reading."""
        pilot, n = load(self.folder), self.topics.partitions
        return [Rooms.of(pilot, part_of(self.var, i, n)).open_ledger(read_only=True) for i in range(n)]

    def records(self, *kinds: str) -> list[list[Any]]:
        """Of each partition, in order."""
        out = []
        for ledger in self.ledgers():
            line = Line(load(self.folder), {})
            out.append([line.records.read(entry) for entry in ledger.scan(1, kinds or ("decision",))])
            ledger.close()
        return out

    def replayed(self) -> tuple[int, int]:
        """Decisions, and how many of them differ."""
        reports = []
        for ledger in self.ledgers():
            reports.append(replay(load(self.folder), ledger, self.var / "models"))
            ledger.close()
        return sum(r.decisions for r in reports), sum(r.mismatches for r in reports)


def until(what: Callable[[], Any], seconds: float = 90) -> Any:
    """What it says once that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)
    return found
