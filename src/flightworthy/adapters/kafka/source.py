"""All that a topic holds, as a source like a file."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaException, TopicPartition

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.decoding import decoder
from flightworthy.adapters.kafka.said import in_our_words
from flightworthy.adapters.kafka.topics import ANSWER, partitions_of
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import AT_ONCE, Records


class KafkaSource:
    """From the oldest record to the newest that was there when reading began, partition after partition."""

    def __init__(self, address: Address) -> None:
        self.name, self._address, self._decode = address.topic, address, decoder(address)
        with in_our_words(address):
            self._bounds = self._look()

    def _look(self) -> list[tuple[int, int, int]]:
        consumer = self._consumer()
        try:
            return [(number, *consumer.get_watermark_offsets(TopicPartition(self.name, number), timeout=ANSWER))
                    for number in partitions_of(consumer, self._address)]
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer({**self._address.client(), "group.id": "flightworthy-source", "enable.auto.commit": False,
                         "enable.partition.eof": True, "auto.offset.reset": "error"})

    def length(self) -> int | None:
        return sum(high - low for _, low, high in self._bounds)

    def chunks(self) -> Iterator[Records]:
        consumer = self._consumer()
        try:
            with in_our_words(self._address):
                for number, low, high in self._bounds:
                    consumer.assign([TopicPartition(self.name, number, low)])
                    yield from self._partition(consumer, high)
        finally:
            consumer.close()

    def _partition(self, consumer: Consumer, high: int) -> Iterator[Records]:
        position = -1
        while position < high:
            raws: list[Raw] = []
            for message in consumer.consume(AT_ONCE, 1.0):
                error = message.error()
                if error is not None and error.code() != error._PARTITION_EOF:
                    raise KafkaException(error)
                position = message.offset() + (error is None)
                if error is None and position <= high:
                    raw: bytes = message.value() or b""
                    raws.append(raw if self._decode is None else self._decode(raw))
            if raws:
                yield Records(raws)
