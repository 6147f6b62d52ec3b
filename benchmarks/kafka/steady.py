"""Payments at a steady rate, each stamped with the instant at which it was due, whether or not it could be sent then.

Usage: python -m benchmarks.kafka.steady BROKER TOPIC RATE SECONDS FIRST
"""

from __future__ import annotations

import sys
import time

import numpy as np
from confluent_kafka import Producer

_TICK = 0.002  # seconds
_BUILT = 200_000  # messages that are built in a second at least


def main() -> None:
    """Prints how late it was itself at most, in milliseconds. All messages are built before the first is due: a sender shares the
    processors with what it measures."""
    broker, topic, rate, seconds, first = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    total = rate * seconds
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5, "partitioner": "murmur2_random", "compression.type": "lz4",
                         "queue.buffering.max.messages": 1_000_000})
    started = time.time() + 0.5 + total / _BUILT
    waiting = built(started, rate, total, first)
    send, sent, worst = producer.produce, 0, 0.0
    while sent < total:
        now = time.time()
        due = min(total, int((now - started) * rate))
        if due <= sent:
            producer.poll(0)
            time.sleep(_TICK)
            continue
        worst = max(worst, now - (started + sent / rate))
        for value, key, at in waiting[sent:due]:
            send(topic, value, key, timestamp=at)
        sent = due
    producer.flush()
    print(1000 * worst)


def built(started: float, rate: int, total: int, first: int) -> list[tuple[bytes, bytes, int]]:
    """Value, key and instant in milliseconds of each."""
    rng = np.random.default_rng(5)
    cards = (rng.beta(0.8, 2.0, total) * 5000).astype(np.int64).tolist()
    worth = np.round(np.exp(rng.normal(3.6, 0.8, total)), 2).tolist()
    out = []
    for second in range(-(-total // rate)):
        said = np.datetime64(int(started + second), "s").astype(str).encode()
        out += [(b'{"transaction_id":"s%d","tx_time":"%bZ","card_id":%d,"terminal_id":%d,"amount":%.2f}'
                 % (first + i, said, cards[i], i % 9973, worth[i]), b"%d" % cards[i], int(1000 * (started + i / rate)))
                for i in range(second * rate, min(total, (second + 1) * rate))]
    return out


if __name__ == "__main__":
    main()
