"""Payments at a steady rate, each stamped with the instant at which it was due, whether or not it could be sent then.

Usage: python -m benchmarks.kafka.steady BROKER TOPIC RATE SECONDS FIRST
"""

from __future__ import annotations

import sys
import time

import numpy as np
from confluent_kafka import Producer

_TICK = 0.002  # seconds


def main() -> None:
    """Prints how late it was itself at most, in milliseconds."""
    broker, topic, rate, seconds, first = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5, "partitioner": "murmur2_random", "compression.type": "lz4",
                         "queue.buffering.max.messages": 1_000_000})
    rng = np.random.default_rng(5)
    cards = (rng.beta(0.8, 2.0, rate * seconds) * 5000).astype(np.int64).tolist()
    worth = np.round(np.exp(rng.normal(3.6, 0.8, rate * seconds)), 2).tolist()
    started, sent, worst = time.time() + 0.5, 0, 0.0
    while sent < rate * seconds:
        now = time.time()
        due = min(rate * seconds, int((now - started) * rate))
        if due <= sent:
            producer.poll(0)
            time.sleep(_TICK)
            continue
        worst = max(worst, now - (started + sent / rate))
        said = np.datetime64(int(now), "s").astype(str).encode()
        for i in range(sent, due):
            producer.produce(topic, b'{"transaction_id":"s%d","tx_time":"%bZ","card_id":%d,"terminal_id":%d,"amount":%.2f}'
                             % (first + i, said, cards[i], i % 9973, worth[i]), b"%d" % cards[i],
                             timestamp=int(1000 * (started + i / rate)))
        sent = due
    producer.flush()
    print(1000 * worst)


if __name__ == "__main__":
    main()
