"""The least a program between two topics can do: consume with the same client, produce as many bytes as a decision has, note how
far it came. What our worker is held against.

Usage: python -m benchmarks.kafka.bare BROKER TOPIC OUT EVENTS
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, Producer

_VALUE = b"x" * 400


def main() -> None:
    """Prints events a second."""
    broker, topic, out, events = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    consumer = Consumer({"bootstrap.servers": broker, "group.id": f"bare-{out}", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "queued.min.messages": 50_000})
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 1, "compression.type": "lz4",
                         "delivery.report.only.error": True})
    consumer.subscribe([topic])
    done, started = 0, 0.0
    while done < events:
        first = consumer.poll(1.0)
        if first is None:
            continue
        started = started or time.perf_counter()
        got = [first, *consumer.consume(8191, 0)]
        for message in got:
            message.offset()
            while True:
                try:
                    producer.produce(out, _VALUE, message.key(), message.partition())
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()
        consumer.commit(asynchronous=True)
        done += len(got)
    print(done / (time.perf_counter() - started))
    consumer.close()


if __name__ == "__main__":
    main()
