"""Past saturation: who is refused comes back slowly, and no more wait than can be served in time."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from flightworthy.operation.service import wire
from flightworthy.operation.service.callers import Refusals
from flightworthy.operation.service.links import BusyError, Link, Room
from flightworthy.operation.service.starts import Home
from tests.conftest import Trained
from tests.operation.running import Service
from tests.operation.test_service_faults import good


def test_room_shrinks_while_answers_come_late_and_grows_again() -> None:
    room, now = Room(4096), 0
    for _ in range(100):
        now += 60_000_000
        room.answered(0.8, room.size, now)
    assert room.size == 64  # some may always wait
    for _ in range(20):
        room.answered(0.3, 10, now)
    assert room.size == 64  # neither early nor late
    for _ in range(200):
        room.answered(0.1, 10, now)
    assert room.size == 4096
    room.answered(1.0, 3000, now + 60_000_000)
    room.answered(1.0, 3000, now + 60_000_001)  # one look at a time
    assert room.size == 2625
    room.answered(1.0, 64, now + 600_000_000)
    assert room.size == 2625  # a slow disk, not a long queue


def test_the_first_who_are_refused_wait_for_nearly_nothing_and_a_storm_is_spread() -> None:
    refusals = Refusals(most=1000, longest=1.0)
    assert refusals.rest(5.0) == pytest.approx(0.001)
    rests = [refusals.rest(5.0) for _ in range(3000)]
    assert rests == sorted(rests) and rests[-1] == 1.0 and rests[500] == pytest.approx(0.502)
    assert refusals.rest(60.0) == pytest.approx(0.001)


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_callers_beyond_the_queue_are_refused_and_take_nothing_from_the_others(start: Callable[..., Service],
                                                                               starter_trained: Trained) -> None:
    service, lines = start("service: {queue: 8}"), good(starter_trained, 1500)
    statuses: Counter[int] = Counter()
    end = time.monotonic() + 60

    def caller(part: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        for line in itertools.cycle(part):
            if (statuses[200] > 200 and statuses[503]) or time.monotonic() > end:
                break
            connection.request("POST", "/v1/decisions", line)
            reply = connection.getresponse()
            reply.read()
            statuses[reply.status] += 1
            assert reply.status != 503 or reply.headers["retry-after"] == "1"
        connection.close()

    callers = [threading.Thread(target=caller, args=(lines[i::48],)) for i in range(48)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert set(statuses) <= {200, 422, 503} and statuses[503] and statuses[200] > 200  # 422: a few lines of the simulation are broken
    # The newest: an old one that was refused all the time is late by now.
    assert service.call("POST", "/v1/decisions", lines[-1])[0] == 200


def test_a_mistake_with_one_answer_takes_neither_the_others_nor_the_shard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[int, bytes]] = []

    def broken(_: int, __: bytes) -> None:
        raise RuntimeError("the connection is in an odd state")

    async def play() -> None:
        link = Link(Home(tmp_path, tmp_path, tmp_path), 100, lambda _: None)
        link.ask(wire.EVENT, [b"1"], 10**9, broken)
        link.ask(wire.EVENT, [b"2"], 10**9, lambda status, body: heard.append((status, body)))
        link._told(wire.Answers([wire.Told(1, 200, b"one"), wire.Told(2, 200, b"two")]))
        assert link.waiting == 0
        link.ask(wire.EVENT, [b"3"], 1000, broken)
        link.ask(wire.EVENT, [b"4"], 1000, lambda status, body: heard.append((status, body)))
        await asyncio.sleep(0.1)

    asyncio.run(play())
    assert heard == [(200, b"two"), (wire.REFUSED, b"no answer in time")]
    assert caplog.text.count("an answer could not be handed on") == 2


def test_a_moment_in_which_many_are_late_opens_nothing_and_a_longer_silence_does(tmp_path: Path) -> None:
    async def silence(seconds: float) -> tuple[bool, list[int]]:
        link = Link(Home(tmp_path, tmp_path, tmp_path), 1000, lambda _: None)
        told: list[int] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(20):
                link.ask(wire.EVENT, [b"x"], 1_000_000, lambda status, _: told.append(status))
            await asyncio.sleep(0.01)
        return link.open, told

    opened, told = asyncio.run(silence(0.2))
    assert not opened and len(told) >= 100 and set(told) == {wire.REFUSED}
    assert asyncio.run(silence(0.8))[0]


def test_what_a_shard_is_to_do_besides_takes_no_room_of_those_who_wait(tmp_path: Path) -> None:
    """Hundreds of spilled decisions to be taken in are no queue in front of the next caller."""
    async def play() -> int:
        link = Link(Home(tmp_path, tmp_path, tmp_path), 64, lambda _: None)
        link.ask(wire.SPILL, [b"x"] * 256, 10**10, lambda *_: None)
        for _ in range(64):
            link.ask(wire.EVENT, [b"x"], 10**9, lambda *_: None)
        with pytest.raises(BusyError):
            link.ask(wire.EVENT, [b"x"], 10**9, lambda *_: None)
        return link.waiting

    assert asyncio.run(play()) == 64
