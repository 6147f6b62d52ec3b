"""Topics as the broker knows them. A topic that was just made, or whose leader went, heals by itself; one that is not there does
not."""

from __future__ import annotations

import logging
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic, TopicMetadata

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.client_log import client_log
from flightworthy.adapters.kafka.said import in_our_words
from flightworthy.ground.errors import AdapterError

_log = logging.getLogger("flightworthy.stream")
ANSWER = 10.0  # seconds for the broker to answer
_PATIENCE = 60.0  # seconds in which a broker that is away when a worker starts may come back
_SOON = 0.02  # seconds between two looks for a topic that was just made
_AGAIN = 0.5  # seconds between two looks for one that is not whole
_WITHOUT_LEADER = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.REPLICA_NOT_AVAILABLE}


def partitions_of(client: Any, address: Address) -> list[int]:
    """The numbers of a topic's partitions. ``client``: whoever can `list_topics`. Raises `AdapterError`, which says whether a
    retry helps, and `KafkaException` where the broker does not answer."""
    known = client.list_topics(address.topic, timeout=ANSWER).topics[address.topic]
    if known.error is None:
        return sorted(known.partitions)
    code = known.error.code()
    if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise AdapterError("the broker has no such topic", where=address.servers, found=address.topic, expected=known.error.str(),
                           next_step="make it, with as many partitions as you want workers at most")
    heals = code in _WITHOUT_LEADER or known.error.retriable()
    raise AdapterError("the broker does not give the topic", where=f"{address.servers}/{address.topic}", found=known.error.str(),
                       retryable=heals, next_step="try again in a moment" if heals else "see what this user may read and write")


def number_of_partitions(address: Address) -> int:
    """How many partitions a topic has; a broker that is away, or looks for a leader, is asked again for a minute. Raises
    `AdapterError`."""
    client, end = AdminClient(address.client(), logger=client_log), time.monotonic() + _PATIENCE
    while True:
        try:
            return len(partitions_of(client, address))
        except KafkaException as error:
            if time.monotonic() > end:
                raise AdapterError("the broker does not answer", where=address.servers, found=str(error.args[0].str()),
                                   retryable=True, next_step="see whether it runs, and whether the address is right") from error
            _log.warning("%s: the broker does not answer, and is asked again: %s", address.servers, error.args[0].str())
        except AdapterError as error:
            if not error.retryable or time.monotonic() > end:
                raise
            _log.warning("%s, and is asked again", error)
            time.sleep(_AGAIN)


def make_topic(address: Address, partitions: int) -> None:
    """Make a topic that keeps everything, unless it is there; whoever looks for it then finds it. Raises `AdapterError`."""
    admin, end = AdminClient(address.client(), logger=client_log), time.monotonic() + ANSWER
    with in_our_words(address):
        try:
            made = admin.create_topics([NewTopic(address.topic, partitions, config={"retention.ms": "-1"})])
            made[address.topic].result(ANSWER)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        # The controller made it, the broker hears of it a moment later.
        while lacks := _lacking(admin.list_topics(address.topic, timeout=ANSWER).topics[address.topic]):
            if time.monotonic() > end:
                raise AdapterError("a topic that was made is not whole", where=f"{address.servers}/{address.topic}", found=lacks,
                                   expected=f"a leader of each partition within {ANSWER:.0f} s", retryable=True,
                                   next_step="see whether all brokers run")
            time.sleep(_SOON)


def _lacking(known: TopicMetadata) -> str:
    """What the broker does not know of a topic yet; empty where nothing."""
    if known.error is not None:
        return str(known.error)
    return "; ".join(f"partition {number}: {one.error}" for number, one in known.partitions.items() if one.error is not None)
