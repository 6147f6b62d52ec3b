"""When the loop of a worker sleeps, and for how long."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flightworthy.operation.worker.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker(cast(Any, None), cast(Any, None))  # neither is asked for by what is tested here
    yield one
    one._pipe.close()
    one._outlet.close()
    one._openers.shutdown()


def lane(at: float, goes: bool = True) -> Any:
    return SimpleNamespace(at=at, goes=goes)


def test_it_sleeps_until_the_first_partition_may_have_its_next_batch(worker: Worker) -> None:
    worker.lanes = {0: lane(100.0), 1: lane(100.006)}
    assert worker._until_due(100.010) == pytest.approx(0.006)  # 12 ms, and 2 for each of two


def test_more_partitions_are_further_apart(worker: Worker) -> None:
    worker.lanes = {number: lane(100.0) for number in range(4)}
    assert worker._until_due(100.0) == pytest.approx(0.020)


def test_a_partition_that_rests_long_does_not_keep_it_awake_and_one_that_broke_does_not_let_it_sleep(worker: Worker) -> None:
    worker.lanes = {0: lane(90.0), 1: lane(100.0)}
    assert worker._until_due(100.0) == pytest.approx(0.016)
    worker.lanes = {0: lane(90.0), 1: lane(100.0, goes=False)}
    assert worker._until_due(100.0) == 0.0


def test_it_does_not_sleep_while_nothing_came_lately_or_a_batch_is_on_its_way(worker: Worker) -> None:
    worker.lanes = {0: lane(90.0)}
    assert worker._until_due(100.0) == 0.0
    worker.lanes = {0: lane(100.0)}
    worker._pipe.before_commit = 1
    assert worker._until_due(100.0) == 0.0
