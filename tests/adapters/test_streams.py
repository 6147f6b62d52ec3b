"""What every source and every sink must do: files and Kafka."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import KafkaError, TopicPartition
from services.kafka import Kafka

from flightworthy.adapters.kafka.address import Address
from flightworthy.ground import registry
from flightworthy.ground.errors import AdapterError
from flightworthy.integration.sources import rows
from flightworthy.integration.streams import Message, Sink
from flightworthy.operation.learn import open_source
from tests.conftest import Trained

Urls = Callable[[str], str]
BOTH = ["file", pytest.param("kafka", marks=pytest.mark.server)]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Urls:
    """The URL of a sink, or source, of this name; a topic is made."""
    if request.param == "file":
        return lambda name: f"file:///{name}.ndjson"
    kafka: Kafka = request.getfixturevalue("kafka")
    return lambda name: kafka.topic(f"s{abs(hash(request.node.nodeid)) % 10**9}-{os.getpid()}-{name}")


def sink_of(address: str, base: Path) -> Sink:
    """The sink behind a URL."""
    opened: Sink = registry.find("sinks", address)(address, base=base)
    return opened


def read(address: str, base: Path, trained: Trained) -> list[bytes]:
    """All records behind a URL, as they came."""
    whole = str(base / address.removeprefix("file:///")) if address.startswith("file:") else address
    return [bytes(row.raw) for row in rows(open_source(whole, trained.pilot).chunks())]  # type: ignore[arg-type]


@pytest.mark.parametrize("url", BOTH, indirect=True)
def test_what_was_settled_is_there_in_order(url: Urls, tmp_path: Path, starter_trained: Trained) -> None:
    address, lines = url("one"), [b'{"n":%d}' % i for i in range(5000)]
    sink = sink_of(address, tmp_path)
    sink.send([Message(b"k", line) for line in lines[:3000]])
    sink.settle()
    assert read(address, tmp_path, starter_trained) == lines[:3000]
    sink.send([Message(b"k", line) for line in lines[3000:]])
    sink.close()
    assert read(address, tmp_path, starter_trained) == lines
    more = sink_of(address, tmp_path)
    more.send([Message(b"k", b'{"n":-1}')])
    more.close()
    assert read(address, tmp_path, starter_trained) == [*lines, b'{"n":-1}']  # whoever comes later adds


@pytest.mark.parametrize("url", BOTH, indirect=True)
def test_a_source_says_how_long_it_is_and_begins_anew(url: Urls, tmp_path: Path, starter_trained: Trained) -> None:
    address = url("two")
    sink = sink_of(address, tmp_path)
    sink.send([Message(b"", b'{"n":%d}' % i) for i in range(20_000)])
    sink.close()
    whole = str(tmp_path / "two.ndjson") if address.startswith("file:") else address
    source = open_source(whole, starter_trained.pilot)
    assert source.length() in (None, 20_000)
    first, second = ([row.raw for row in rows(source.chunks())] for _ in range(2))
    assert first == second
    assert len(first) == 20_000


def test_headers_of_a_file_stand_beside_the_value(tmp_path: Path) -> None:
    sink = sink_of("file:///dead.ndjson", tmp_path)
    sink.send([Message(b"", b"{", (("reason", b"malformed"),)), Message(b"", b"\xff", (("reason", b"malformed"),))])
    sink.close()
    assert [json.loads(line) for line in (tmp_path / "dead.ndjson").read_text().splitlines()] == [
        {"headers": {"reason": "malformed"}, "value": "{"}, {"headers": {"reason": "malformed"}, "base64": "/w=="}]


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder.ndjson").mkdir()
    with pytest.raises(AdapterError, match="cannot write"):
        sink_of("file:///folder.ndjson", tmp_path)


@pytest.mark.server
def test_a_message_too_large_for_the_topic_leaves_its_value_out(kafka: Kafka, starter_trained: Trained, tmp_path: Path) -> None:
    address = kafka.topic(f"large-{os.getpid()}")
    sink = sink_of(address, tmp_path)
    sink.send([Message(b"", b"x" * 2_000_000, (("reason", b"malformed"),)), Message(b"", b"small")])
    sink.close()
    assert read(address, tmp_path, starter_trained) == [b"", b"small"]


@pytest.mark.server
def test_a_topic_that_is_not_there_is_an_error_that_says_so(kafka: Kafka, starter_trained: Trained) -> None:
    with pytest.raises(AdapterError, match="no such topic"):
        open_source(kafka.url("nowhere"), starter_trained.pilot)
    with pytest.raises(AdapterError, match="no such topic"):
        registry.find("streams", "kafka://x/y")(kafka.url("nowhere"))


@pytest.mark.server
@pytest.mark.parametrize("room", [100_000, 300])
def test_a_client_that_takes_nothing_any_more_is_replaced(room: int, kafka: Kafka, starter_trained: Trained, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a broker that started again: nothing is lost, and the order stays."""
    from flightworthy.adapters.kafka import sink as module

    address = kafka.topic(f"replaced-{room}-{os.getpid()}")
    sink, lines = cast(module.KafkaSink, sink_of(address, tmp_path)), [b"%d" % i for i in range(1000)]
    sink.send([Message(b"k", line) for line in lines[:100]])
    sink.settle()
    monkeypatch.setattr(module, "_STALLED", 1.0)
    with monkeypatch.context() as patched:
        patched.setitem(module._SETTINGS, "queue.buffering.max.messages", room)
        patched.setattr(sink, "_address", Address.of("kafka://127.0.0.1:1/nowhere"))
        sink._open()  # a client that does not find its broker
    sink._address = Address.of(address)
    sink.send([Message(b"k", line) for line in lines[100:]])
    sink.close()
    assert read(address, tmp_path, starter_trained) == lines


@pytest.mark.server
@pytest.mark.parametrize("behind", [2, 400])
def test_a_client_that_went_to_the_end_instead_is_sent_back(behind: int, kafka: Kafka, tmp_path: Path) -> None:
    """As the client does by itself where it looked the end up when it was sent elsewhere (librdkafka issue 2256)."""
    from flightworthy.adapters.kafka.stream import KafkaStream

    topic, sink = f"astray-{behind}-{os.getpid()}", sink_of(kafka.topic(f"astray-{behind}-{os.getpid()}"), tmp_path)
    sink.send([Message(b"k", b"%d" % i) for i in range(1000)])
    sink.settle()
    stream, gained, came, end = KafkaStream(Address.of(kafka.url(topic)), None, topic), list[int](), list[int](), time.monotonic() + 40
    stream.join(gained.extend, lambda *_: None)
    while not gained:
        stream.fetch(1, 0, 0.1)
    stream.start(0, (1000 - behind, None))
    stream._consumers[0].seek(TopicPartition(topic, 0, 1000))
    sink.send([Message(b"k", b"%d" % i) for i in range(1000, 1100)])
    sink.close()
    while len(came) < behind + 100 and time.monotonic() < end:
        came += [offset for one in stream.fetch(10_000, 0, 0.1) for offset in one.offsets]
    stream.close()
    assert came == list(range(1000 - behind, 1100))


@pytest.mark.server
def test_events_and_outcomes_need_as_many_partitions(kafka: Kafka) -> None:
    events, outcomes = kafka.topic(f"four-{os.getpid()}", 4), kafka.topic(f"three-{os.getpid()}", 3)
    with pytest.raises(AdapterError, match="as many partitions"):
        registry.find("streams", events)(events, outcomes=outcomes)


@pytest.mark.parametrize(("address", "said"), [
    ("kafka://broker:9092", "no address of a topic"), ("kafka://broker/a/b", "no address of a topic"),
    ("kafka://me:hidden@broker/a", "no user and no password"), ("kafka://broker/a?sasl.password=hidden", "sets this itself"),
    ("kafka://broker/a?enable.auto.commit=true", "sets this itself"), ("kafka://broker/a?format=xml", "not written like that"),
    ("kafka://broker/a?format=avro", "from a registry")])
def test_what_an_address_must_not_say(address: str, said: str) -> None:
    with pytest.raises(AdapterError, match=said) as error:
        Address.of(address)
    assert "hidden" not in str(error.value)


def test_settings_of_the_client_pass_through_and_the_password_comes_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "hidden")
    address = Address.of("kafka://a:1,b:2/payments?group=g&security.protocol=SASL_SSL&sasl.username=me")
    assert address.servers == "a:1,b:2"
    assert (address.topic, address.group) == ("payments", "g")
    assert address.client()["sasl.password"] == "hidden"
    assert address.client()["security.protocol"] == "SASL_SSL"


@pytest.mark.server
def test_what_was_not_taken_is_said_to_whoever_settles(kafka: Kafka, tmp_path: Path) -> None:
    """Also where it was noticed while somebody else sent: else the first would count as published."""
    from flightworthy.adapters.kafka import sink as module

    sink = cast(module.KafkaSink, sink_of(kafka.topic(f"refused-{os.getpid()}"), tmp_path))
    sink.send([Message(b"k", b"1")], partition=0)
    sink._failed.append(KafkaError(KafkaError.INVALID_MSG))
    with pytest.raises(AdapterError, match="not taken"):
        sink.send([Message(b"k", b"2")])
    with pytest.raises(AdapterError, match="not taken"):
        sink.settle()
    sink.send([Message(b"k", b"3")])
    sink.close()
