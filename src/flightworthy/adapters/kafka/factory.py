"""Opens ``kafka://host:port/topic``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flightworthy.ground.registry import missing_extra

if TYPE_CHECKING:
    from flightworthy.adapters.kafka.sink import KafkaSink
    from flightworthy.adapters.kafka.source import KafkaSource
    from flightworthy.adapters.kafka.stream import KafkaStream
    from flightworthy.integration.streams import Stream


def open_stream(url: str, outcomes: str = "", group: str = "flightworthy", skip_missing: bool = False) -> KafkaStream:
    """The topic of events, shared by the workers of a group (of the URL, else the one given), and that of outcomes.
    ``skip_missing``: go on from the oldest record where some that were not read are gone.

    Raises `AdapterError` without the driver, or when the broker does not answer or has no such topic.
    """
    _check(url)
    from flightworthy.adapters.kafka.address import Address
    from flightworthy.adapters.kafka.stream import KafkaStream

    return KafkaStream(Address.of(url), Address.of(outcomes) if outcomes else None, group, skip_missing)


def open_sink(url: str, partitions: int = 0, **_: Any) -> KafkaSink:
    """A topic to write to; with ``partitions`` one that is not there is made. Raises `AdapterError`."""
    _check(url)
    from flightworthy.adapters.kafka.address import Address
    from flightworthy.adapters.kafka.sink import KafkaSink

    return KafkaSink(Address.of(url), partitions)


def open_source(url: str, **_: Any) -> KafkaSource:
    """All that a topic holds now, from its oldest record on. Raises `AdapterError`."""
    _check(url)
    from flightworthy.adapters.kafka.address import Address
    from flightworthy.adapters.kafka.source import KafkaSource

    return KafkaSource(Address.of(url))


def _check(url: str) -> None:
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        raise missing_extra("confluent-kafka", "kafka", url) from None


__all__ = ["Stream", "open_sink", "open_source", "open_stream"]
