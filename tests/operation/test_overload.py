"""Past saturation: who is refused comes back slowly, and no more wait than can be served in time."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from flightworthy.operation.service.callers import Refusals
from flightworthy.operation.service.links import Room
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
    end = time.monotonic() + 5

    def caller(part: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        for line in itertools.cycle(part):
            if time.monotonic() > end:
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
    assert set(statuses) <= {200, 422, 503} and statuses[200] > 200  # 422: a few lines of the simulation are broken
    assert service.call("POST", "/v1/decisions", lines[0])[0] == 200
