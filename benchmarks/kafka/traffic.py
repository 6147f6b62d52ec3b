"""Invented card payments as messages: in order of time, with what a stream has in life: some twice, some late, some broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer

START = 1_767_225_600  # 2026-01-01, seconds


class Sent(NamedTuple):
    """One message: key, value, the broker's time in milliseconds, and whether it is an outcome."""

    key: bytes
    value: bytes
    stamp: int
    outcome: bool


@dataclass(frozen=True)
class Mix:
    """Shares of all events."""

    twice: float = 0.0
    late: float = 0.0  # by minutes, as the manifest allows
    too_late: float = 0.0
    broken: float = 0.0


LIFE = Mix(twice=0.02, late=0.03, too_late=0.003, broken=0.003)
_BROKEN = (b'{"transaction_id": "b%d", "tx_time": ', b"\xff\xfe%d", b'{"transaction_id":"b%d","tx_time":"yesterday","card_id":1}',
           b'{"transaction_id":"b%d","amount":-1}', b"[%d]")


def payments(events: int, mix: Mix = LIFE, cards: int = 5000, days: float = 120.0, seed: int = 2) -> Iterator[Sent]:
    """Payments, and the outcome of each fraud one to six days after it, in the order of the broker's time."""
    rng = np.random.default_rng(seed)
    card = (rng.beta(0.8, 2.0, events) * cards).astype(np.int64).tolist()
    usual = np.exp(rng.normal(3.6, 0.6, cards))
    amount = np.round(usual[card] * np.exp(rng.normal(0, 0.5, events)), 2)
    fraud = (rng.random(events) < 0.004) | (amount > 8 * usual[card])
    seconds = np.sort(rng.uniform(0, days * 86400, events)).astype(np.int64)
    behind = np.where((chance := rng.random(events)) < mix.late, rng.integers(1, 3000, events), 0)
    behind = np.where((chance >= mix.late) & (chance < mix.late + mix.too_late), rng.integers(20_000, 90_000, events), behind)
    twice, broken = rng.random(events) < mix.twice, rng.random(events) < mix.broken
    known = np.flatnonzero(fraud)
    due = seconds[known] + rng.integers(86_400, 6 * 86_400, len(known))
    told = [(int(at), int(i)) for at, i in sorted(zip(due.tolist(), known.tolist(), strict=True))]
    again: list[tuple[int, Sent]] = []
    for i, (one, at, worth, back) in enumerate(zip(card, seconds.tolist(), amount.tolist(), behind.tolist(), strict=True)):
        while told and told[0][0] <= at:
            yield _outcome(*told.pop(0), card)
        key, stamp = b"%d" % one, 1000 * (START + at)
        said = np.datetime64(START + at - back, "s").astype(str).encode()
        event = Sent(key, b'{"transaction_id":"%d","tx_time":"%bZ","card_id":%d,"terminal_id":%d,"amount":%.2f}'
                     % (i, said, one, i % 9973, worth), stamp, False)
        yield event
        if twice[i]:
            again.append((i + 1 + i % 5000, event))
        while again and again[0][0] <= i:
            yield again.pop(0)[1]._replace(stamp=stamp)
        if broken[i]:
            yield Sent(key, _BROKEN[i % len(_BROKEN)] % i, stamp, False)


def _outcome(at: int, event: int, card: list[int]) -> Sent:
    said = np.datetime64(START + at, "s").astype(str).encode()
    value = b'{"transaction_id":"%d","fraud":true,"known_at":"%bZ"}' % (event, said)
    return Sent(b"%d" % card[event], value, 1000 * (START + at), True)


def produce(servers: str, sent: Iterator[Sent], events: str, outcomes: str = "") -> tuple[int, int]:
    """Write messages to their topics, shared out by key as Java's clients do; how many of each. Outcomes only where there is a
    topic for them."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50, "batch.num.messages": 10_000, "acks": "all",
                         "queue.buffering.max.messages": 1_000_000, "partitioner": "murmur2_random", "compression.type": "lz4"})
    counts = [0, 0]
    for n, (key, value, stamp, outcome) in enumerate(sent):
        if outcome and not outcomes:
            continue
        counts[outcome] += 1
        producer.produce(outcomes if outcome else events, value, key, timestamp=stamp)
        if n % 20_000 == 0:
            producer.poll(0)
    producer.flush()
    return counts[0], counts[1]
