"""A topic that was just made, and one the broker cannot give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from flightworthy.adapters.kafka import topics
from flightworthy.adapters.kafka.address import Address
from flightworthy.ground.errors import AdapterError

ADDRESS = Address.of("kafka://localhost:1/payments")
NO_LEADER = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
WHOLE = SimpleNamespace(error=None, partitions={0: SimpleNamespace(error=None)})
LEADERLESS = SimpleNamespace(error=None, partitions={0: SimpleNamespace(error=NO_LEADER)})


class Broker:
    """Answers in turn; the last answer again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __call__(self, *_: Any, **__: Any) -> Broker:
        return self

    def create_topics(self, made: list[Any]) -> dict[str, Any]:
        return {topic.topic: SimpleNamespace(result=lambda _: None) for topic in made}

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]})


def _error(code: int) -> Any:
    return SimpleNamespace(error=KafkaError(code), partitions={})


def test_who_makes_a_topic_waits_until_the_broker_has_heard_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller has made it a moment before: whoever looked for it at once was told that there is none."""
    broker = Broker(_error(KafkaError.UNKNOWN_TOPIC_OR_PART), LEADERLESS, WHOLE)
    monkeypatch.setattr(topics, "AdminClient", broker)
    topics.make_topic(ADDRESS, 1)
    assert broker.answers == [WHOLE]


def test_a_topic_that_never_gets_a_leader_is_not_called_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "AdminClient", Broker(LEADERLESS))
    monkeypatch.setattr(topics, "ANSWER", 0.1)
    with pytest.raises(AdapterError, match=r"not whole[\s\S]*partition 0") as raised:
        topics.make_topic(ADDRESS, 1)
    assert raised.value.retryable


@pytest.mark.parametrize(("code", "said", "heals"), [
    (KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic", False),
    (KafkaError.LEADER_NOT_AVAILABLE, "does not give the topic", True),
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, "does not give the topic", False)])
def test_a_reader_is_told_whether_to_try_again(code: int, said: str, heals: bool) -> None:
    with pytest.raises(AdapterError, match=said) as raised:
        topics.partitions_of(Broker(_error(code)), ADDRESS)
    assert raised.value.retryable is heals


def test_a_worker_waits_for_a_leader_and_not_for_a_topic_that_nobody_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_AGAIN", 0.0)
    monkeypatch.setattr(topics, "AdminClient", Broker(_error(KafkaError.LEADER_NOT_AVAILABLE), WHOLE))
    assert topics.number_of_partitions(ADDRESS) == 1
    monkeypatch.setattr(topics, "AdminClient", Broker(_error(KafkaError.UNKNOWN_TOPIC_OR_PART)))
    with pytest.raises(AdapterError, match="no such topic"):
        topics.number_of_partitions(ADDRESS)
