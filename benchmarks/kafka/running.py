"""What runs while a bench measures, and how far it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from services.kafka import Kafka

from benchmarks.kafka.setting import pilot_with

PARTITIONS = 4
_NEW = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
_TICKS = os.sysconf("SC_CLK_TCK")


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


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


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


def span(kafka: Kafka, topic: str) -> tuple[float, int]:
    """Seconds from a topic's first message to its last, by the broker's clock, and how many there are."""
    consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": "span", "enable.auto.commit": False})
    first, last, total = list[int](), list[int](), 0
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


def waited(done: Callable[[], bool], patience: float) -> None:
    """Returns when it is so. Raises `TimeoutError`."""
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("it took too long")
        time.sleep(0.3)
