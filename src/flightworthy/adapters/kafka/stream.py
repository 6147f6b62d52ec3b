"""Topics of events and outcomes, shared by the workers of a consumer group.

The group shares out the partitions of the events alone; a worker reads the outcomes of a partition beside it, outside the group,
so that both always come to the same place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.client_log import client_log
from flightworthy.adapters.kafka.decoding import Decode, decoder
from flightworthy.adapters.kafka.ends import Ends
from flightworthy.adapters.kafka.said import in_our_words, told
from flightworthy.adapters.kafka.topics import number_of_partitions
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.integration.streams import Fetched

_log = logging.getLogger("flightworthy.stream")
_OLDEST, _NEWEST = -2, -1  # librdkafka's OFFSET_BEGINNING and OFFSET_END
_MOMENT = 0.5  # seconds in which the client is asked again at once
_SETTINGS: dict[str, str | int | bool] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,  # a worker that died is missed after six seconds
    "max.poll.interval.ms": 300_000,
    # The broker answers every five milliseconds, or sooner where much came: for each record it would take more of its time
    # than the records do, and leave less to whoever shares its processors.
    "fetch.wait.max.ms": 5, "fetch.min.bytes": 65_536, "fetch.error.backoff.ms": 100,
    # A batch is fetched ahead of each partition, and looked for again soon. All of them stand in one row, in which the records of
    # a partition that was just taken up come last.
    "queued.min.messages": 8192, "queued.max.messages.kbytes": 65_536, "fetch.queue.backoff.ms": 5,
    "reconnect.backoff.max.ms": 1000, "topic.metadata.refresh.interval.ms": 30_000,
}


class KafkaStream:
    """One consumer in the group for events, one outside it for outcomes."""

    def __init__(self, events: Address, outcomes: Address | None, group: str, skip_missing: bool = False) -> None:
        self._skip_missing, self._skipped = skip_missing, list[tuple[int, int]]()
        self._addresses = [events] if outcomes is None else [events, outcomes]
        self._decode: list[Decode | None] = [decoder(address) for address in self._addresses]
        self.partitions = number_of_partitions(events)
        if outcomes is not None and (theirs := number_of_partitions(outcomes)) != self.partitions:
            raise AdapterError("events and outcomes need as many partitions: both are shared out by the same key",
                               where=outcomes.topic, found=theirs, expected=f"{self.partitions}, as {events.topic} has")
        group = events.group or group
        self._consumers = [_consumer(address, group, member=kind == 0) for kind, address in enumerate(self._addresses)]
        self.topics = len(self._addresses)
        self._fetching: list[set[int]] = [set() for _ in self._addresses]
        self._ends = [Ends() for _ in self._addresses]
        self._came: list[list[Message]] = [[] for _ in self._addresses]
        self._astray: list[set[int]] = [set() for _ in self._addresses]  # partitions that are not where they were sent
        self._ours: set[int] = set()
        self._gained: Callable[[list[int]], None] = lambda _: None
        self._lost: Callable[[list[int], bool], None] = lambda *_: None

    def source(self, kind: int, partition: int) -> str:
        return f"{self._addresses[kind].topic}/{partition}"

    def join(self, gained: Callable[[list[int]], None], lost: Callable[[list[int], bool], None]) -> None:
        self._gained, self._lost = gained, lost
        self._consumers[0].subscribe([self._addresses[0].topic], on_assign=self._on_assign, on_revoke=self._on_revoke,
                                     on_lost=self._on_lost)

    # What the group gives is assigned at once, as the client's account of the group wants it, and rests until its state is here:
    # see `start`.
    def _on_assign(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        numbers = [one.partition for one in given]
        topic = self._addresses[0].topic
        consumer.incremental_assign([TopicPartition(topic, number, _NEWEST) for number in numbers])
        if numbers:
            consumer.pause([TopicPartition(topic, number) for number in numbers])
        self._ours.update(numbers)
        self._gained(numbers)

    def _on_revoke(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        self._give_up(consumer, taken, False)

    def _on_lost(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        self._give_up(consumer, taken, True)

    def _give_up(self, consumer: Consumer, taken: list[TopicPartition], gone: bool) -> None:
        numbers = [one.partition for one in taken]
        try:
            self._lost(numbers, gone)
        finally:
            for number in numbers:
                self._rest(number)
            self._ours.difference_update(numbers)
            consumer.incremental_unassign(taken)

    def start(self, partition: int, positions: tuple[int | None, int | None], wanted: bool = True) -> None:
        self._rest(partition)
        if not wanted or partition not in self._ours:
            return
        try:
            self._begin(partition, positions)
        except AdapterError:
            self._rest(partition)
            raise

    def _begin(self, partition: int, positions: tuple[int | None, int | None]) -> None:
        for kind, consumer in enumerate(self._consumers):
            at = positions[kind]
            one = TopicPartition(self._addresses[kind].topic, partition, _OLDEST if at is None else at)
            with in_our_words(self._addresses[kind]):
                if kind:
                    consumer.incremental_assign([one])
                else:
                    self._go_to(consumer, one)
            self._fetching[kind].add(partition)
            self._ends[kind].started(partition, at, time.monotonic())

    @staticmethod
    def _go_to(consumer: Consumer, one: TopicPartition) -> None:
        """Fetch from an offset on. The client refuses for a moment after an assignment, and while the broker is away."""
        end = time.monotonic() + _MOMENT
        while True:
            try:
                consumer.seek(one)
                break
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:
                    raise
                if time.monotonic() > end:
                    raise AdapterError("the client does not go to where reading goes on", where=f"{one.topic}/{one.partition}",
                                       found=error.args[0].str(), retryable=True) from error
                time.sleep(0.01)
        consumer.resume([one])

    def _rest(self, partition: int) -> None:
        for kind, consumer in enumerate(self._consumers):
            if partition in self._fetching[kind]:
                self._fetching[kind].discard(partition)
                self._astray[kind].discard(partition)
                self._ends[kind].forget(partition)
                one = TopicPartition(self._addresses[kind].topic, partition)
                if kind:
                    consumer.incremental_unassign([one])
                else:
                    consumer.pause([one])

    def fetch(self, events: int, outcomes: int, wait: float) -> list[Fetched]:
        told = self._fetch(1, outcomes, 0) if self.topics > 1 and outcomes else []
        if not events:
            return told
        came = self._fetch(0, events, 0 if told else wait)
        return [one for one in told if one.partition in self._fetching[1]] + came  # the group may have taken some meanwhile

    def _fetch(self, kind: int, most: int, wait: float) -> list[Fetched]:
        consumer, got = self._consumers[kind], self._came[kind]
        with in_our_words(self._addresses[kind]):
            self._send_back(kind)
            if not got and (first := consumer.poll(wait)) is not None:
                got.append(first)  # kept where the next call fails: it would not come again
            if got and most > 1:
                got += consumer.consume(most - 1, 0)
        self._came[kind] = []
        return self._columns(kind, got)

    def _send_back(self, kind: int) -> None:
        for partition in list(self._astray[kind]):
            one = TopicPartition(self._addresses[kind].topic, partition, self._ends[kind].next(partition))
            _log.warning("%s/%d: the client did not go on at %d: it is sent there again", one.topic, partition, one.offset)
            self._go_to(self._consumers[kind], one)
            self._astray[kind].discard(partition)

    def hold(self, kind: int, partition: int, on: bool) -> None:
        if partition in self._fetching[kind]:
            change = self._consumers[kind].pause if on else self._consumers[kind].resume
            change([TopicPartition(self._addresses[kind].topic, partition)])

    def _columns(self, kind: int, got: list[Message]) -> list[Fetched]:
        out: dict[int, Fetched] = {}
        now = time.monotonic()
        decode, ours, ends, astray = self._decode[kind], self._fetching[kind], self._ends[kind], self._astray[kind]
        for message in got:
            partition = message.partition()
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    self._heard(kind, message, error)
                elif partition in ours and partition not in astray:
                    ends.told(partition, self.end(kind, partition))
                    if not ends.reached(partition, message.offset(), now):
                        astray.add(partition)
                continue
            if partition not in ours or partition in astray:
                continue
            if (into := out.get(partition)) is None:
                into = out[partition] = Fetched(kind, partition, [], [], [])
                ends.told(partition, self.end(kind, partition))
            if not ends.passed(partition, offset := message.offset(), now):
                astray.add(partition)
                continue
            raw: bytes = message.value() or b""
            into.raws.append(raw if decode is None else decode(raw))
            into.offsets.append(offset)
            into.stamps.append(message.timestamp()[1] * 1000)
        return [one for one in out.values() if one.offsets]

    def _heard(self, kind: int, message: Message, error: KafkaError) -> None:
        topic = self._addresses[kind].topic
        if error.code() == KafkaError._AUTO_OFFSET_RESET and self._skip_missing:
            _log.error("%s/%d: records are missing that were not read: %s", topic, message.partition(), error.str())
            self._skipped.append((kind, message.partition()))
            self._ends[kind].started(message.partition(), None, time.monotonic())
            self._consumers[kind].incremental_unassign([TopicPartition(topic, message.partition())])
            self._consumers[kind].incremental_assign([TopicPartition(topic, message.partition(), _OLDEST)])
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise DataError("records that were not read yet are no longer in the topic, or the topic was made anew",
                            where=f"{topic}/{message.partition()}", found=error.str(),
                            next_step="if the loss is accepted: flightworthy stream --skip-missing")
        if error.fatal() or (not error.retriable() and error.code() in _REFUSED):
            raise AdapterError(f"the broker refuses: {error.str()}", where=topic)
        _log.warning("%s: %s", topic, error.str())

    def skipped(self) -> list[tuple[int, int]]:
        told, self._skipped = self._skipped, []
        return told

    def drained(self, kind: int, partition: int) -> bool:
        return self._ends[kind].drained(partition, time.monotonic())

    def end(self, kind: int, partition: int) -> int | None:
        if kind >= len(self._consumers) or partition not in self._fetching[kind]:
            return None
        try:
            high: int = self._consumers[kind].get_watermark_offsets(
                TopicPartition(self._addresses[kind].topic, partition), cached=True)[1]
        except KafkaException:  # nothing was fetched yet
            return None
        return high if high >= 0 else None

    def note(self, positions: dict[int, tuple[int, int]]) -> None:
        ours = [TopicPartition(self._addresses[0].topic, number, at[0]) for number, at in positions.items()
                if number in self._ours and at[0] >= 0]
        if ours:
            try:
                self._consumers[0].commit(offsets=ours, asynchronous=True)
            except KafkaException as error:  # for the broker's tools alone
                _log.info("the broker was not told how far we are: %s", error)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()


_REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED,
            KafkaError._AUTHENTICATION}


def _consumer(address: Address, group: str, member: bool) -> Consumer:
    settings = {**_SETTINGS, **address.client(), "group.id": group if member else f"{group}-outcomes",
                "enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "error",
                "enable.partition.eof": True}
    try:
        return Consumer(settings, logger=client_log)
    except KafkaException as error:
        raise told(error, address) from error
