"""A topic that was just made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import admin

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.stream import make_topic


def test_who_makes_a_topic_waits_until_the_broker_has_heard_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller has made it a moment before: whoever looked for it at once was told that there is none."""
    without_leader = SimpleNamespace(error=None, partitions={0: SimpleNamespace(error="no leader")})
    whole = SimpleNamespace(error=None, partitions={0: SimpleNamespace(error=None)})
    answers = [SimpleNamespace(error="unknown", partitions={}), without_leader, whole]

    class Admin:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def create_topics(self, topics: list[Any]) -> dict[str, Any]:
            return {topic.topic: SimpleNamespace(result=lambda _: None) for topic in topics}

        def list_topics(self, topic: str, timeout: float) -> Any:
            return SimpleNamespace(topics={topic: answers.pop(0)})

    monkeypatch.setattr(admin, "AdminClient", Admin)
    make_topic(Address.of("kafka://localhost:1/payments"), 1)
    assert answers == []
