"""What a run left behind: in its ledgers, and in its topics."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from flightworthy.decision.line import Line
from flightworthy.decision.rooms import Rooms, load_models, part_of
from flightworthy.governance.ledger import ACT, DECISION, OUTCOME
from flightworthy.manifest.load import load
from flightworthy.operation.service.answers import answer, encode
from flightworthy.operation.worker.lane import TAKEOVER


@dataclass
class Found:
    """Of one partition's ledger. ``features``: id → digest of what the model saw and said; ``answers``: id → digest of what is to
    be told; ``order``: ids in their order; ``moments``: takeovers (instant, by whom), decisions (instant, "") in order;
    ``takeovers``: decisions before it, by whom, instant."""

    decisions: int = 0
    features: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    quarantined: set[tuple[str, int, str]] = field(default_factory=set)
    moments: list[tuple[float, str]] = field(default_factory=list)
    takeovers: list[tuple[int, str, float]] = field(default_factory=list)

    def takeover(self, who: str, at: float) -> float | None:
        """Seconds from an instant at which this owner went until the first decision of the next one; None where it was not the
        owner, or nothing was left to decide."""
        owner, waiting = "", False
        for moment, by in self.moments:
            if by:
                if moment > at and owner == who:
                    waiting = True
                if moment <= at or waiting:
                    owner = by
                elif moment > at and not waiting:
                    return None
            elif waiting:
                return moment - at
        return None

    def apart(self, expected: Found) -> dict[str, Any]:
        """Where features begin to differ from another's, how often they do, and the takeovers, each with the number of decisions
        before it; empty where they do not."""
        names = [name for name in expected.features if self.features.get(name, b"") != expected.features[name]]
        if not names:
            return {}
        places = {name: place for place, name in enumerate(self.features)}
        return {"times": len(names), "first": names[0], "at": places.get(names[0]), "last_at": places.get(names[-1]),
                "takeovers": self.takeovers}

    def resumed(self, at: float) -> float | None:
        """Seconds from an instant to the next decision."""
        return next((moment - at for moment, by in self.moments if not by and moment >= at), None)


def displaced(expected: list[str], found: list[str]) -> dict[str, Any]:
    """How the order of one ledger differs from another's: what is missing, what is too much, and the first place."""
    first = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found)))
    around = slice(max(0, first - 2), first + 6)
    return {"missing": len(set(expected) - set(found)), "too_much": len(set(found) - set(expected)), "entries": len(found),
            "first": first, "expected": expected[around], "found": found[around],
            "expected_there": found.index(expected[first]) if first < len(expected) and expected[first] in found else None}


def decided(manifest: Path, var: Path, number: int, parts: int) -> Found:
    """Read a ledger."""
    pilot = load(manifest)
    rooms = Rooms.of(pilot, part_of(var, number, parts))
    ledger = rooms.open_ledger(read_only=True)
    line = Line(pilot, load_models(pilot, var / "models"))
    found, last = Found(), 0.0
    try:
        for entry in ledger.scan(1, (DECISION, OUTCOME, ACT)):
            record = line.records.read(entry)
            if entry.kind == ACT:
                if record.id == TAKEOVER:
                    found.moments.append((record.arrived / 1e6, record.who))
                    found.takeovers.append((found.decisions, record.who, record.arrived / 1e6))
                continue
            found.order.append(f"{entry.kind[0]} {entry.key}")
            if entry.kind == OUTCOME:
                continue
            found.decisions += 1
            found.features[entry.key] = seen(record)
            found.answers[entry.key] = _digest(encode(answer(record, pilot.outputs)))
            if (moment := record.decided / 1e6) != last:
                found.moments.append((moment, ""))
                last = moment
        after = 0
        while held := ledger.quarantine("held", after, 1000):
            found.quarantined.update((q.source, q.position, q.reason) for q in held)
            after = held[-1].id
    finally:
        ledger.close()
    return found


def seen(record: Any) -> bytes:
    """A digest of what the model saw of an event, what it said, and what was done."""
    numbers = struct.pack(f"<{len(record.features) + len(record.outputs)}d", *record.features, *record.outputs)
    return _digest(numbers + f"{record.action} {record.arm} {record.reasons}".encode())


@dataclass(slots=True)
class Said:
    """How often a decision was told, and whether always in the same bytes."""

    bits: bytes
    times: int = 1
    different: bool = False


def told(servers: str, topic: str) -> dict[str, Said]:
    """Decisions in a topic, by event."""
    out: dict[str, Said] = {}
    for message in everything(servers, topic):
        value = message.value()
        name, bits = value[7 : value.index(b'"', 7)].decode(), _digest(value)
        if (said := out.get(name)) is None:
            out[name] = Said(bits)
        else:
            said.times += 1
            said.different |= said.bits != bits
    return out


def dead_letters(servers: str, topic: str) -> set[tuple[str, int, str]]:
    """Source, offset and reason of each."""
    out = set()
    for message in everything(servers, topic):
        said = dict(message.headers() or ())
        out.add((said["source"].decode(), int(said["offset"]), said["reason"].decode()))
    return out


def everything(servers: str, topic: str) -> Iterator[Message]:
    """All messages of a topic."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "looking", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest"})
    try:
        for number in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
            consumer.assign([TopicPartition(topic, number, low)])
            position = low
            while position < high:
                first = consumer.poll(1.0)
                for message in [] if first is None else [first, *consumer.consume(10_000, 0)]:
                    if message.error() is None and message.offset() < high:
                        position = message.offset() + 1
                        yield message
    finally:
        consumer.close()


def _digest(content: Any) -> bytes:
    return blake2b(content, digest_size=8).digest()
