"""One partition, without its broker: when it rests, and what its snapshots hold."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.rooms import Rooms
from flightworthy.ground.clock import SystemClock
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.streams import Fetched
from flightworthy.operation.worker.buffers import Buffers
from flightworthy.operation.worker.lane import Counts, Lane, Setting
from flightworthy.operation.worker.worker import FETCH, Trouble, Worker
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


def _written(lane: Lane) -> None:
    assert lane._saving is not None
    lane._saving.join(20)
    assert not lane._saving.is_alive()


def test_a_snapshot_holds_what_was_when_it_was_due(lane: Lane, starter_trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches go on while it is made: before the one it belongs to is durable, and while it is written."""
    lines, begin = starter_trained.lines("live", 60), Event()
    real = lane._write
    monkeypatch.setattr(lane, "_write", lambda write: (begin.wait(20), real(write)))
    lane._saved = -(10**6)
    _take(lane, lines[:40], 0)
    first = lane.prepare((True, True))
    _take(lane, lines[40:50], 40)
    second = lane.prepare((True, True))
    assert first is not None
    assert second is not None
    for made in (first, second):
        assert not lane.rests
        lane.engine.score(made[0])
        lane.commit(*made)
        lane.over()
        assert lane._saving is not None  # with the first
    held = lane.engine.ledger.last() - len(second[0].entries)
    _take(lane, lines[50:], 50)
    _decide(lane)
    begin.set()
    _written(lane)
    last, digest = lane.engine.ledger.last(), lane.engine.state.digest()
    lane.drop()
    lane.open()
    assert (lane.engine.recovered, lane.engine.state.digest()) == (last - held, digest)
    assert last > held


def test_a_lane_makes_no_snapshot_of_what_its_ledger_refused(lane: Lane, starter_trained: Trained,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    lines = starter_trained.lines("live", 60)
    lane._saved = -(10**6)  # so that one is due
    _take(lane, lines[:40], 0)
    _decide(lane)
    lane.drop()  # it waits for the snapshot
    lane.open()
    assert lane.engine.recovered == 0

    def away(*_: Any) -> None:
        raise LedgerError("away", retryable=True)

    lane._saved, lane._saving, lane._took = -(10**6), None, 0
    _take(lane, lines[40:], 40)
    with monkeypatch.context() as patched:
        patched.setattr(lane.engine.ledger, "commit", away)
        with pytest.raises(LedgerError):
            _decide(lane)
    assert lane._stilled is not None  # one was due
    assert lane._saving is None
    with pytest.raises(LedgerError, match="not in the ledger"):
        lane.engine.capture()
    lane.open()
    assert (lane.positions[0], lane.failed) == (40, None)
    again = Engine.open(lane.setting.pilot, lane.setting.base, snapshots=False,
                        models=Rooms.of(lane.setting.pilot, lane.setting.base).models)
    assert again.state.digest() == lane.engine.state.digest()
    again.ledger.close()


def test_what_was_due_is_taken_in_once(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(lane.early, "take", lambda due: taken.extend(due) or len(due))
    lane._due, lane.rests = [7], True
    lane.look()  # it was seen
    lane.rested()
    lane.rested()
    assert (lane.rests, lane.goes, taken, lane.counts.outcomes) == (False, True, [7], 1)


def test_who_had_much_to_read_leaves_a_snapshot_to_whoever_is_next(lane: Lane, starter_trained: Trained,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition may be taken up twice within seconds: what was read would be read again."""
    _take(lane, starter_trained.lines("live", 60), 0)
    _decide(lane)
    written = lane.engine.ledger.last()
    lane.drop()
    monkeypatch.setattr("flightworthy.operation.worker.lane.SNAPSHOT_EVERY", written + 10)
    lane.open()
    assert (lane.engine.recovered > 0, lane._saving) == (True, None)  # it is not worth it
    lane.drop()
    monkeypatch.setattr("flightworthy.operation.worker.lane.SNAPSHOT_EVERY", 10)
    lane.open()
    assert (lane.engine.recovered > 0, lane.rests) == (True, False)  # it decides meanwhile
    _written(lane)
    lane.drop()
    lane.open()
    assert lane.engine.recovered == 0


def test_a_partition_that_is_lost_while_it_is_read_is_not_taken_up(lane: Lane, starter_trained: Trained) -> None:
    """Whoever has it now would be fenced off: a worker that slept may read for seconds after its partition went elsewhere."""
    _take(lane, starter_trained.lines("live", 60), 0)
    _decide(lane)
    last, base = lane.engine.ledger.last(), lane.setting.base
    lane.drop()
    late, after = (Lane(Setting(lane.setting.pilot, base, SystemClock(), who, token), 0, 1, ("payments/0", ""))
                   for who, token in (("late", 2), ("after", 3)))
    late.give_up()
    with pytest.raises(LedgerError, match="went to another worker") as said:
        late.open()
    assert said.value.retryable
    after.open()
    assert after.engine.ledger.last() == last + 1  # its own takeover
    assert after.still_ours()
    after.hand_over()
    with pytest.raises(LedgerError, match="went to another worker"):
        late.open()  # nor where a snapshot leaves nothing to read


def test_a_lane_that_is_given_up_ends_what_its_engine_reads(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(*_: Any, between: Callable[[], None], **__: Any) -> Engine:
        between()
        lane.give_up()  # by the loop, while a thread reads
        between()
        raise AssertionError("it was read to its end")

    monkeypatch.setattr(Engine, "open", reading)
    with pytest.raises(LedgerError, match="went to another worker"):
        lane.open()


def test_what_is_lost_while_it_is_read_ends_before_anyone_waits_for_it() -> None:
    said: list[str] = []

    def lane(number: int) -> Any:
        calls = {name: lambda name=name: said.append(f"{number} {name}") for name in ("give_up", "drop", "hand_over")}
        return SimpleNamespace(running=number == 2, under_way=0, failed=None, counts=Counts(), **calls)

    class Opening:
        def exception(self) -> None:
            said.append("waited")

    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, None))
    worker.lanes = {number: lane(number) for number in range(3)}
    worker._trouble = {number: Trouble(0.0, opening=cast(Any, Opening())) for number in range(2)}
    worker._lose([0, 1, 2], False)
    assert said == ["0 give_up", "1 give_up", "waited", "0 drop", "waited", "1 drop", "2 hand_over"]


DRAINED = SimpleNamespace(drained=lambda *_: True, skipped=lambda: [])


def _holds(count: int, **also: Any) -> Any:
    """A lane that goes and has so many events, as the loop sees it."""
    buffers = Buffers()
    if count:
        buffers.add(Fetched(0, 0, [b"1"] * count, list(range(count)), [0] * count))
    return SimpleNamespace(goes=True, rests=False, number=0, sources=("payments/0", ""), buffers=buffers, held=set(),
                           suspects=SimpleNamespace(alone=False), **{"turn": 0, "at": 0.0, "since": 0.0, **also})


def test_lanes_are_looked_at_in_turn() -> None:
    """Did all of them rest at once, their events would wait for each other."""
    looked: list[int] = []
    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, None))
    worker.lanes = cast(Any, {n: SimpleNamespace(goes=n != 2, look=lambda n=n: looked.append(n)) for n in range(4)})
    for _ in range(6):
        worker._look()
    assert looked == [1, 3, 0, 1, 3, 0]


def test_a_partition_that_is_taken_up_goes_first_for_a_moment() -> None:
    worker, opening = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, DRAINED)), Future[None]()
    lane = _holds(300, turn=7)
    worker.lanes, worker._trouble = cast(Any, {0: lane}), {1: Trouble(0.0, opening=opening)}
    assert worker._next() is None
    worker._trouble[1].since -= 3.0  # what takes longer holds nobody up
    assert worker._next() is cast(Any, lane)
    worker._trouble[1].since += 3.0
    opening.set_result(None)
    assert worker._next() is cast(Any, lane)


def test_the_first_records_of_a_partition_that_was_taken_up_go_before_all_others() -> None:
    """The client has them behind all that it fetched of the other partitions, whose batches would be decided in between."""
    stream, asked = SimpleNamespace(drained=lambda *_: False, skipped=lambda: []), list[int]()
    stream.fetch = lambda events, *_: asked.append(events) or []
    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, stream))
    now = time.monotonic()
    old, new = _holds(2 * FETCH, turn=7, at=now, since=now - 60), _holds(0, since=now)
    worker.lanes = cast(Any, {0: old, 1: new})
    assert worker._next() is None
    worker._asked = now
    worker._fetch(now, False)
    assert asked == [FETCH]  # though there is no room
    new.since -= 3.0  # not for long
    assert worker._next() is cast(Any, old)
    new.since += 3.0
    stream.drained = lambda *_: True  # nor where there is nothing
    assert worker._next() is cast(Any, old)
    stream.drained = lambda *_: False
    new.buffers.add(Fetched(0, 1, [b"1"] * 300, list(range(300)), [0] * 300))
    assert worker._next() is cast(Any, new)


def test_small_batches_of_a_partition_wait_for_company_and_large_ones_do_not() -> None:
    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, DRAINED))
    lane = _holds(3, at=time.monotonic() + 60)
    worker.lanes = cast(Any, {0: lane})
    assert worker._next() is None
    lane.buffers = _holds(400).buffers
    assert worker._next() is cast(Any, lane)
    lane.buffers, lane.at = _holds(3).buffers, time.monotonic() - 60  # a lone event after a pause waits for nobody
    assert worker._next() is cast(Any, lane)
    lane.at, lane.suspects.alone = time.monotonic() + 60, True  # one at a time anyway
    assert worker._next() is cast(Any, lane)


def test_a_partition_that_waits_for_its_other_topic_is_not_asked_again_and_again() -> None:
    """It would take the interpreter from whoever fetches what it waits for."""
    here = {0: True, 1: False}
    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, SimpleNamespace(drained=lambda kind, _: here[kind])))
    lane = _holds(400)
    lane.sources = ("payments/0", "outcomes/0")
    worker.lanes = cast(Any, {0: lane})
    assert worker._next() is None
    here[1] = True
    assert worker._next() is cast(Any, lane)
    here[1] = False
    lane.buffers.add(Fetched(1, 0, [b"1"], [0], [5]))
    assert worker._next() is cast(Any, lane)


def test_the_loop_leaves_the_interpreter_to_whoever_reads_a_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no room for more: it went round without a pause then, and the threads that read waited for it."""
    waited, asked = list[float](), list[tuple[int, float]]()
    stream = SimpleNamespace(fetch=lambda events, _, wait: asked.append((events, wait)) or [], skipped=lambda: [])
    worker = Worker(cast(Any, SimpleNamespace(batch=1)), cast(Any, stream))
    lane = SimpleNamespace(goes=False, buffers=SimpleNamespace(events=range(FETCH), outcomes=()))
    worker.lanes = cast(Any, {0: lane})
    monkeypatch.setattr("flightworthy.operation.worker.worker.time.sleep", waited.append)
    worker._asked = time.monotonic()
    worker._fetch(time.monotonic(), False)
    assert (waited, asked) == ([0.001], [(0, 0.001)])
    worker._trouble = {1: Trouble(0.0, opening=Future())}
    worker._fetch(time.monotonic(), False)
    assert (waited[1:], asked[1:]) == ([0.01], [(0, 0.01)])
    lane.buffers.events = range(0)
    worker._fetch(time.monotonic(), False)
    assert (waited[2:], asked[2:]) == ([], [(FETCH, 0.01)])
