"""A broker that takes nothing: whoever prepares batches is told so instead of being held."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from flightworthy.decision.work import Arrivals, Work
from flightworthy.integration.streams import Message
from flightworthy.operation.worker.lane import Lane
from flightworthy.operation.worker.outlet import Outlet
from flightworthy.operation.worker.pipe import Item, Pipe


class HeldSink:
    """A sink whose broker is away until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def send(self, messages: Sequence[Message], partition: int = 0) -> None:
        """It takes them, as a client's queue does."""

    def settle(self) -> None:
        assert self.open.wait(10)

    def close(self) -> None:
        """Nothing is held."""


class CountingLane:
    """What a pipe asks of a lane, without a pilot: it counts what passed."""

    failed, generation, number, published, dead = None, 1, 0, 0, 0

    def __init__(self) -> None:
        self.engine, self.committed, self.passed = self, list[int](), 0

    def score(self, work: Work) -> None:
        """No model."""

    def commit(self, work: Work, progress: dict[str, int]) -> None:
        self.committed.append(progress["at"])

    def over(self) -> None:
        self.passed += 1

    def broke(self, error: BaseException) -> None:
        raise AssertionError(error)


@pytest.mark.parametrize("alone", [True, False])
def test_a_pipe_without_room_says_so_and_holds_nobody(alone: bool) -> None:
    sink, lane = HeldSink(), CountingLane()
    outlet = Outlet(sink, None, lambda one: cast(Any, one).over())
    pipe, put = Pipe(outlet), 0
    while pipe.room(0.3):
        taken = threading.Thread(target=pipe.put, daemon=True, args=(
            Item(cast(Lane, lane), Work(Arrivals([], 0), []), {"at": put}), alone))
        taken.start()
        taken.join(2)
        assert not taken.is_alive(), f"batch {put} held who brought it"
        put += 1
        assert put < 100
    assert put > 10
    assert lane.passed == 0
    sink.open.set()
    assert pipe.room(10)
    pipe.close()
    outlet.close()
    assert (lane.committed, lane.passed) == (list(range(put)), put)
