"""Streams that never end: a topic in partitions, shared by the workers of a group, and sinks for what is made of it.

Who owns a partition, and where reading it goes on, is settled apart: the broker's group says who, the ledger says where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from flightworthy.integration.contract import Raw


class Fetched(NamedTuple):
    """Consecutive records of one partition as columns (n). ``kind`` 0 of the events' topic, 1 of the outcomes'; ``offsets`` may
    have gaps; ``stamps``: the broker's time of each, microseconds UTC."""

    kind: int
    partition: int
    raws: list[Raw]
    offsets: list[int]
    stamps: list[int]


class Message(NamedTuple):
    """What goes out. ``stamp``: the broker's time of it, microseconds; 0: now."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    stamp: int = 0


class Stream(Protocol):
    """The events' topic and, beside it, the outcomes' with as many partitions. One thread calls all of it."""

    partitions: int
    topics: int  # 2 with outcomes

    def source(self, kind: int, partition: int) -> str:
        """A name for one partition of a topic: under it the ledger keeps how far it was read."""
        ...

    def join(self, gained: Callable[[list[int]], None], lost: Callable[[list[int], bool], None]) -> None:
        """Become a member of the group; ``fetch`` will call ``gained`` for partitions that are ours from here on (none, where
        there are too many members), and ``lost`` for those that no longer are, with whether they are somebody else's already."""
        ...

    def start(self, partition: int, positions: tuple[int | None, int | None], wanted: bool = True) -> None:
        """Fetch a partition that is ours from these offsets of events and outcomes on (None: the oldest), or no longer. Raises
        `AdapterError`; then nothing of it is fetched."""
        ...

    def fetch(self, events: int, outcomes: int, wait: float) -> list[Fetched]:
        """What there is, at most so many records of each; waits so many seconds for a first event. Raises `DataError` when a
        record that was not read yet is no longer there, `AdapterError` when the broker refuses."""
        ...

    def hold(self, kind: int, partition: int, on: bool) -> None:
        """Fetch nothing more of a partition, or again."""
        ...

    def skipped(self) -> list[tuple[int, int]]:
        """Topics and partitions of which records are missing that nobody read, where that was accepted; each is told once."""
        ...

    def drained(self, kind: int, partition: int) -> bool:
        """Whether everything was fetched that the broker had when it was last asked."""
        ...

    def end(self, kind: int, partition: int) -> int | None:
        """The offset after the newest record, as far as it is known."""
        ...

    def note(self, positions: dict[int, tuple[int, int]]) -> None:
        """Tell the broker how far partitions were decided: for its tools alone, nobody goes on from there."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class Sink(Protocol):
    """Where messages go, at least once and in order. Every method raises `AdapterError`."""

    def send(self, messages: Sequence[Message], partition: int = 0) -> None:
        """Hand over; blocks while too much is under way."""
        ...

    def settle(self) -> None:
        """Return when all that was handed over is durable."""
        ...

    def close(self) -> None:
        """Settle, and let go."""
        ...
