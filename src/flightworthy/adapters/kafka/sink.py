"""A topic to write to."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.client_log import client_log
from flightworthy.adapters.kafka.stream import make_topic, told
from flightworthy.ground.errors import AdapterError
from flightworthy.integration.streams import Message

_log = logging.getLogger("flightworthy.stream")
_WAIT = 0.5  # seconds between two looks
_SAY_AGAIN = 30.0  # seconds between two lines about a broker that does not take anything
_SETTINGS: dict[str, str | int | bool] = {
    "enable.idempotence": True, "acks": "all",  # in order, none lost, none doubled while this producer lives
    "message.timeout.ms": 0,  # a broker that is away is waited for; what is under way is bounded
    "linger.ms": 1, "compression.type": "lz4", "queue.buffering.max.messages": 100_000,
    "delivery.report.only.error": True, "reconnect.backoff.max.ms": 1000,
}


class KafkaSink:
    """One idempotent producer."""

    def __init__(self, address: Address, partitions: int = 0) -> None:
        """With ``partitions`` a topic that is not there is made with so many."""
        self._address, self._failed = address, list[KafkaError]()
        if partitions:
            make_topic(address, partitions)
        try:
            self._producer = Producer({**_SETTINGS, **address.client(), "on_delivery": self._delivered}, logger=client_log)
        except KafkaException as error:
            raise told(error, address) from error

    def _delivered(self, error: KafkaError | None, _: Any) -> None:
        if error is not None:
            self._failed.append(error)

    def send(self, messages: Sequence[Message], partition: int = 0) -> None:
        topic, produce = self._address.topic, self._producer.produce
        for message in messages:
            key, value, headers, stamp = message
            try:
                produce(topic, value, key, partition, headers=list(headers) or None, timestamp=stamp // 1000)
            except (BufferError, KafkaException):
                self._insist(message, partition)
        self._producer.poll(0)
        self._check()

    def _insist(self, message: Message, partition: int) -> None:
        """Send what was not taken at once: when there is room, or, where it is too large for the topic, without its value."""
        while True:
            try:
                self._producer.produce(self._address.topic, message.value, message.key, partition,
                                       headers=list(message.headers) or None, timestamp=message.stamp // 1000)
                return
            except BufferError:  # the broker does not keep up: so do we not
                self._producer.poll(_WAIT)
                self._check()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE or not message.value:
                    raise told(error, self._address) from error
                left_out = ("left_out", f"{len(message.value)} bytes".encode())
                message = message._replace(value=b"", headers=(*message.headers, left_out))

    def settle(self) -> None:
        said = time.monotonic()
        while self._producer.flush(_WAIT):
            self._check()
            if time.monotonic() - said > _SAY_AGAIN:
                said = time.monotonic()
                _log.warning("%s takes nothing: %d messages wait", self._address.topic, len(self._producer))
        self._check()

    def _check(self) -> None:
        if self._failed:
            failed, self._failed = self._failed, []
            raise AdapterError(f"{len(failed)} messages were not taken: {failed[0].str()}", where=self._address.topic,
                               retryable=True)

    def close(self) -> None:
        self.settle()
