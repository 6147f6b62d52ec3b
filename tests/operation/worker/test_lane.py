"""One partition, without its broker: when it rests, and what its snapshots hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.rooms import Rooms
from flightworthy.ground.clock import SystemClock
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.streams import Fetched
from flightworthy.operation.worker.lane import Lane, Setting
from flightworthy.operation.worker.worker import Trouble, Worker
from tests.conftest import Trained


@pytest.fixture
def lane(starter_trained: Trained, tmp_path: Path) -> Iterator[Lane]:
    shutil.copytree(starter_trained.var, tmp_path / "var")
    one = Lane(Setting(starter_trained.pilot, tmp_path / "var", SystemClock(), "one", 1), 0, 1, ("payments/0", ""))
    one.open()
    one.running = True
    yield one
    one.drop()


def _take(lane: Lane, raws: list[bytes], offset: int) -> None:
    lane.take(Fetched(0, 0, list(raws), list(range(offset, offset + len(raws))), [offset] * len(raws)))


def _decide(lane: Lane) -> None:
    made = lane.prepare((True, True))
    assert made is not None
    try:
        lane.engine.score(made[0])
        lane.commit(*made)
    finally:
        lane.over()


def test_a_lane_makes_no_snapshot_of_what_its_ledger_refused(lane: Lane, starter_trained: Trained,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    lines = starter_trained.lines("live", 60)
    _take(lane, lines[:40], 0)
    _decide(lane)
    lane._saved = -(10**6)  # so that one is due
    lane.look()
    assert lane.rests
    lane.rested()
    lane.drop()  # it waits for the snapshot
    lane.open()
    assert lane.engine.recovered == 0

    def away(*_: Any) -> None:
        raise LedgerError("away", retryable=True)

    _take(lane, lines[40:], 40)
    with monkeypatch.context() as patched:
        patched.setattr(lane.engine.ledger, "commit", away)
        with pytest.raises(LedgerError):
            _decide(lane)
    lane._saved, lane._took = -(10**6), 0
    assert lane.goes  # nobody said yet that it failed
    lane.rested()
    assert not lane.goes
    assert "not in the ledger" in str(lane.failed)
    lane.open()
    assert (lane.positions[0], lane.failed) == (40, None)
    again = Engine.open(lane.setting.pilot, lane.setting.base, snapshots=False,
                        models=Rooms.of(lane.setting.pilot, lane.setting.base).models)
    assert again.state.digest() == lane.engine.state.digest()
    again.ledger.close()


def test_lanes_are_looked_at_in_turn() -> None:
    """Did all of them rest at once, events would wait for all their snapshots."""
    looked: list[int] = []
    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, None))
    worker.lanes = cast(Any, {n: SimpleNamespace(goes=n != 2, look=lambda n=n: looked.append(n)) for n in range(4)})
    for _ in range(6):
        worker._look()
    assert looked == [1, 3, 0, 1, 3, 0]


def test_a_partition_that_is_taken_up_goes_first_for_a_moment() -> None:
    worker, opening = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, None)), Future[None]()
    lane = SimpleNamespace(goes=True, rests=False, turn=0, buffers=[b"1"] * 300, suspects=SimpleNamespace(alone=False))
    worker.lanes, worker._trouble = cast(Any, {0: lane}), {1: Trouble(0.0, opening=opening)}
    assert worker._next() is None
    worker._trouble[1].since -= 3.0  # what takes longer holds nobody up
    assert worker._next() is cast(Any, lane)
    worker._trouble[1].since += 3.0
    opening.set_result(None)
    assert worker._next() is cast(Any, lane)
