"""The least a program between two topics can do: consume with the same client, produce as many bytes as a decision has, note how
far it came. What our worker is held against.

Usage: python -m benchmarks.kafka.bare BROKER TOPIC OUT EVENTS [named]

With ``named`` each message begins as a decision does, with the id of its event, so that how long it took can be told.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, Producer

_VALUE = b"x" * 400


def main() -> None:
    """Prints events a second."""
    broker, topic, out, events, named = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:] == ["named"]
    consumer = Consumer({"bootstrap.servers": broker, "group.id": f"bare-{out}", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "queued.min.messages": 50_000,
                         "fetch.wait.max.ms": 5, "fetch.min.bytes": 65_536})
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
            value = _named(message.value()) if named else _VALUE
            while True:
                try:
                    producer.produce(out, value, message.key(), message.partition())
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()
        consumer.commit(asynchronous=True)
        done += len(got)
    print(done / (time.perf_counter() - started))
    consumer.close()


def _named(event: bytes) -> bytes:
    return (b'{"id":"' + event[19 : event.index(b'"', 19) + 1]).ljust(len(_VALUE), b" ")


if __name__ == "__main__":
    main()
