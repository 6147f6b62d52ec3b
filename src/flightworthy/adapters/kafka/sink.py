"""A topic to write to."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.client_log import client_log
from flightworthy.adapters.kafka.said import told
from flightworthy.adapters.kafka.topics import make_topic
from flightworthy.ground.errors import AdapterError
from flightworthy.integration.streams import Message

_log = logging.getLogger("flightworthy.stream")
_WAIT = 0.5  # seconds between two looks
_STALLED = 30.0  # seconds in which nothing is taken, after which another client sends what waits
_MOST = 100_000  # messages that are under way at once
_SETTINGS: dict[str, str | int | bool] = {
    "enable.idempotence": True, "acks": "all",  # in order, none lost, none doubled while this producer lives
    "message.timeout.ms": 0,  # a broker that is away is waited for; what is under way is bounded
    "linger.ms": 1, "compression.type": "lz4", "queue.buffering.max.messages": _MOST,
    "delivery.report.only.error": True, "reconnect.backoff.max.ms": 1000,
}


class KafkaSink:
    """One idempotent producer, and another where that one takes nothing any more: a client that found its broker again may still
    not send (librdkafka issue 3009). What was not settled is sent once more then, in its order."""

    def __init__(self, address: Address, partitions: int = 0) -> None:
        """With ``partitions`` a topic that is not there is made with so many."""
        self._address = address
        self._sent: list[tuple[Message, int]] = []  # since it was settled
        if partitions:
            make_topic(address, partitions)
        self._open()

    def _open(self) -> None:
        failed = self._failed = list[KafkaError]()  # each client has its own: what another one gave up does not count

        def delivered(error: KafkaError | None, _: Any) -> None:
            if error is not None:
                failed.append(error)

        try:
            self._producer = Producer({**_SETTINGS, **self._address.client(), "on_delivery": delivered}, logger=client_log)
        except KafkaException as error:
            raise told(error, self._address) from error

    def send(self, messages: Sequence[Message], partition: int = 0) -> None:
        topic, sent = self._address.topic, self._sent.append
        for message in messages:
            key, value, headers, stamp = message
            try:
                if headers or stamp:
                    self._producer.produce(topic, value, key, partition, headers=list(headers), timestamp=stamp // 1000)
                else:  # half the time for what all decisions are
                    self._producer.produce(topic, value, key, partition)
            except (BufferError, KafkaException):
                self._insist(message, partition)
            sent((message, partition))
        self._producer.poll(0)
        self._check()
        if len(self._sent) >= _MOST:
            self._flush()
            self._sent.clear()

    def _insist(self, message: Message, partition: int) -> None:
        """Send what was not taken at once: when there is room, or, where it is too large for the topic, without its value."""
        began = time.monotonic()
        while True:
            try:
                self._producer.produce(self._address.topic, message.value, message.key, partition,
                                       headers=list(message.headers) or None, timestamp=message.stamp // 1000)
                return
            except BufferError:  # the broker does not keep up: so do we not
                self._producer.poll(_WAIT)
                self._check()
                if time.monotonic() - began > _STALLED:
                    self._anew()
                    began = time.monotonic()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE or not message.value:
                    raise told(error, self._address) from error
                left_out = ("left_out", f"{len(message.value)} bytes".encode())
                message = message._replace(value=b"", headers=(*message.headers, left_out))

    def settle(self) -> None:
        try:
            self._flush()
        finally:
            self._sent.clear()  # where that failed, it is for whoever called to send it again
            self._failed.clear()  # only here: which of those who sent since then it concerns is not known

    def _flush(self) -> None:
        moved, waiting = time.monotonic(), len(self._producer)
        while left := self._producer.flush(_WAIT):
            self._check()
            if left < waiting:
                moved, waiting = time.monotonic(), left
            elif time.monotonic() - moved > _STALLED:
                self._anew()
                moved, waiting = time.monotonic(), len(self._producer)
        self._check()

    def _anew(self) -> None:
        _log.warning("%s takes nothing: the %d messages that wait are sent again by another client", self._address.topic,
                     len(self._producer))
        old = self._producer
        self._open()
        old.purge()
        sent, self._sent = self._sent, []
        for message, partition in sent:
            self.send([message], partition)

    def _check(self) -> None:
        if self._failed:
            raise AdapterError(f"{len(self._failed)} messages were not taken: {self._failed[0].str()}", where=self._address.topic,
                               retryable=True)

    def close(self) -> None:
        self.settle()
