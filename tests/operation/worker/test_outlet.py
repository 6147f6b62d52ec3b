"""What leaves a partition, in which order, and when it counts as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any, cast

from flightworthy.integration.streams import Message
from flightworthy.operation.worker.lane import Lane, last_of
from flightworthy.operation.worker.outlet import Outlet
from tests.conftest import Trained
from tests.operation.worker.test_lane import _take, lane

__all__ = ["lane"]  # the fixture


class _Sink:
    """Keeps the ids it is told; does something before the first."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.heard, self._before = list[str](), before

    def send(self, messages: Sequence[Message], _: int = 0) -> None:
        self._before()
        self.heard += [json.loads(message.value)["id"] for message in messages]

    def settle(self) -> None: ...

    def close(self) -> None: ...


def _decided(lane: Lane, raws: list[bytes], offset: int) -> list[Any]:
    _take(lane, raws, offset)
    made = lane.prepare((True, True))
    assert made is not None
    lane.engine.score(made[0])
    lane.commit(*made)
    return [made[0].records, last_of(made[0])]


def _told(lane: Lane, sink: _Sink, raws: list[bytes]) -> int:
    """What a partition that was taken up sends; the number of decisions that were told again."""
    outlet = Outlet(cast(Any, sink), None, Lane.over)
    outlet.again(lane)
    records, last = _decided(lane, raws, 40)
    outlet.put(lane, records, False, last)
    outlet.close()
    assert lane.under_way == 0
    return outlet.republished


def test_what_nobody_was_told_goes_before_what_is_decided_meanwhile(lane: Lane, starter_trained: Trained) -> None:
    lines, sink = starter_trained.lines("live", 60), _Sink()
    before, _ = _decided(lane, lines[:40], 0)
    lane.over()
    lane.published = lane.last - 30
    assert _told(lane, sink, lines[40:]) == 30
    assert lane.published == lane.last
    name = starter_trained.pilot.manifest.events.id
    assert sink.heard == [record.id for record in before[10:]] + [json.loads(line)[name] for line in lines[40:]]


def test_a_partition_that_failed_is_told_nothing_of(lane: Lane, starter_trained: Trained) -> None:
    lines = starter_trained.lines("live", 60)
    _decided(lane, lines[:40], 0)
    lane.over()
    lane.published = before = lane.last - 30
    sink = _Sink(before=lambda: lane.broke(ValueError("as another thread may say at any time")))
    assert _told(lane, sink, lines[40:]) == 30
    assert (len(sink.heard), lane.published) == (30, before)


def test_few_decisions_wait_to_be_told_while_the_broker_takes_nothing(lane: Lane, starter_trained: Trained) -> None:
    """Whoever takes the partition up tells all of them again, and its own stand behind them."""
    inside, taken, put = Event(), Event(), list[int]()

    def stuck() -> None:
        inside.set()
        taken.wait(20)

    outlet = Outlet(cast(Any, _Sink(before=stuck)), None, Lane.over)
    records, last = _decided(lane, starter_trained.lines("live", 60), 0)

    def hand(count: int) -> None:
        lane.begun()
        outlet.put(lane, (records * (count // len(records) + 1))[:count], False, last)
        put.append(count)

    outlet.put(lane, records, False, last)
    assert inside.wait(20)
    hand(8192)
    assert outlet.room()
    hand(8192)
    assert not outlet.room()
    late = Thread(target=hand, args=(1,), daemon=True)
    late.start()
    late.join(0.2)
    assert put == [8192, 8192]
    taken.set()
    late.join(20)
    outlet.close()
    assert (put, lane.under_way, lane.published) == ([8192, 8192, 1], 0, last)
