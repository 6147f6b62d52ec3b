"""What Kafka's client says, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from flightworthy.adapters.kafka.address import Address
from flightworthy.ground.errors import AdapterError


def told(error: KafkaException, address: Address) -> AdapterError:
    """What the client says, in our words."""
    said = error.args[0]
    known = isinstance(said, KafkaError)
    return AdapterError(f"Kafka: {said.str() if known else said}", where=f"{address.servers}/{address.topic}",
                        retryable=bool(known and said.retriable()))


@contextmanager
def in_our_words(address: Address) -> Iterator[None]:
    """The client's errors in our words."""
    try:
        yield
    except KafkaException as error:
        raise told(error, address) from error
