"""Snapshots at a URL: piece by piece, the same bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from services.objects import Objects
from services.redis import Redis

from flightworthy.adapters.files.factory import open_shelf as open_folder
from flightworthy.adapters.objects.factory import open_shelf as open_bucket
from flightworthy.adapters.redis.factory import open_shelf as open_redis
from flightworthy.decision.engine import Engine
from flightworthy.decision.line import FeatureRows, Line
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.integration.features.deltas import Deltas, Shelf
from flightworthy.integration.features.snapshot import Captured, Snapshot, restore, write
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.load import parse
from tests.conftest import PILOTS, Trained
from tests.integration.test_state_contract import MANIFEST

SHELVES = ["file", pytest.param("redis", marks=pytest.mark.server), pytest.param("s3", marks=pytest.mark.server)]


@pytest.fixture(params=SHELVES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "file":
        yield open_folder("file:///shelf", tmp_path)
    elif request.param == "s3":
        store: Objects = request.getfixturevalue("objects")
        yield open_bucket(store.url(f"below/{tmp_path.name}"))
    else:
        server: Redis = request.getfixturevalue("redis")
        yield open_redis(server.url(f"3?prefix={tmp_path.name}"))


def line_of() -> Line:
    return Line(parse(MANIFEST), {})


def feed(line: Line, state: FeatureState, first: int, count: int, people: int, outcomes: bool = True) -> None:
    """Events of some people, and outcomes that change nothing but remembered events."""
    rng = np.random.default_rng(first)
    lines = [json.dumps({"id": f"e{i}", "at": f"2026-01-01T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z", "who": f"p{p}", "shop": 1,
                         "money": float(m), "how": f"h{i % 7}"}).encode()
             for i, p, m in zip(range(first, first + count), rng.integers(0, people, count), rng.random(count), strict=True)]
    events = [line.contract.read(raw) for raw in lines]
    seqs = np.arange(first + 1, first + 1 + count)
    line.features(state, FeatureRows(np.zeros(count, np.int64), events, seqs, np.full(count, line.no_label)))
    if outcomes:
        line.features(state, FeatureRows(np.ones(1, np.int64), events[:1], seqs[:1], np.ones(1)))


def again(shelf: Shelf, line: Line) -> tuple[FeatureState, Snapshot | None]:
    state = line.state()
    return state, Deltas(shelf, "p/1").restore(state, line.pilot.recipe_digest)


def test_pieces_make_the_state_to_the_bit(shelf: Shelf) -> None:
    line = line_of()
    state, kept = line.state(), Deltas(shelf, "p/1")
    for turn in range(6):
        feed(line, state, 40 * turn, 40, people=5 + 3 * turn)
        kept.write(Captured.of(state, Snapshot(40 * (turn + 1), turn), line.pilot.recipe_digest))
        found, stands = again(shelf, line)
        assert stands == Snapshot(40 * (turn + 1), turn)
        assert found.digest() == state.digest()


def test_what_was_captured_stays_as_it_was(tmp_path: Path) -> None:
    line = line_of()
    state, where = line.state(), tmp_path / "features.npz"
    feed(line, state, 0, 3000, people=300)  # rooms grow on the way
    then = state.digest()
    captured = Captured.of(state, Snapshot(3000, 1), line.pilot.recipe_digest)
    feed(line, state, 3000, 9000, people=900)
    write(where, captured.arrays())  # it is put together only here
    found = line.state()
    assert restore(where, found, line.pilot.recipe_digest) == Snapshot(3000, 1)
    assert found.digest() == then != state.digest()
    feed(line, found, 3000, 9000, people=900)
    assert found.digest() == state.digest()


def test_a_state_is_copied_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some entities by whoever changes them, the others by a thread beside, a few at a time."""
    monkeypatch.setattr("flightworthy.integration.features.still._AT_ONCE", 20)
    line = line_of()
    state, first = line.state(), 0
    for _ in range(12):
        feed(line, state, first, 500, people=400)
        then, digest = [group.packed() for group in state.groups], state.digest()
        captured = Captured.of(state, Snapshot(first, 1), line.pilot.recipe_digest)
        beside = Thread(target=lambda captured=captured: captured.groups)  # type: ignore[misc]
        feed(line, state, first + 500, 200, people=400)
        beside.start()
        for more in range(5):
            feed(line, state, first + 700 + 60 * more, 60, people=500)
        beside.join(20)
        assert state.digest() != digest
        for group, was in zip(state.groups, then, strict=True):
            for found, expected in zip(captured.groups[group.plan.name], was, strict=True):
                np.testing.assert_array_equal(found, expected)
        first += 1000


def test_what_is_forgotten_or_captured_anew_leaves_a_capture_whole() -> None:
    line = line_of()
    state = line.state()
    feed(line, state, 0, 500, people=50)
    then = {group.plan.name: group.packed() for group in state.groups}
    before = Captured.of(state, Snapshot(500, 1), line.pilot.recipe_digest)
    state.forget("who", ["p3", "p4"])
    feed(line, state, 500, 100, people=50)
    after = {group.plan.name: group.packed() for group in state.groups}
    anew = Captured.of(state, Snapshot(600, 1), line.pilot.recipe_digest)
    once_more = Captured.of(state, Snapshot(600, 1), line.pilot.recipe_digest)
    feed(line, state, 600, 100, people=60)
    for captured, was in ((before, then), (anew, after), (once_more, after)):
        for name, arrays in was.items():
            for found, expected in zip(captured.groups[name], arrays, strict=True):
                np.testing.assert_array_equal(found, expected)


def test_a_piece_holds_what_changed(shelf: Shelf) -> None:
    line = line_of()
    state, kept = line.state(), Deltas(shelf, "p/1")
    feed(line, state, 0, 2000, people=500)
    kept.write(Captured.of(state, Snapshot(2000, 1), line.pilot.recipe_digest))
    feed(line, state, 2000, 3, people=500)
    kept.write(Captured.of(state, Snapshot(2003, 1), line.pilot.recipe_digest))
    whole, delta = kept._wrote.sizes
    # Not a twentieth: the group of all events is one entity, with all of them.
    assert delta < whole / 3
    assert again(shelf, line)[0].digest() == state.digest()


def test_a_label_alone_is_a_change(shelf: Shelf) -> None:
    line = line_of()
    state, kept = line.state(), Deltas(shelf, "p/1")
    feed(line, state, 0, 30, people=3, outcomes=False)
    kept.write(Captured.of(state, Snapshot(30, 1), line.pilot.recipe_digest))
    before = state.digest()
    feed(line, state, 0, 0, people=3, outcomes=False)
    event = line.contract.read(json.dumps({"id": "e3", "at": "2026-01-01T00:00:03Z", "who": "p0", "shop": 1, "money": 1.0}).encode())
    for who in range(3):  # of whoever it is about
        line.features(state, FeatureRows(np.ones(1, np.int64), [type(event)(**{**event_fields(event), "who": f"p{who}"})],
                                         np.array([4]), np.ones(1)))
    assert state.digest() != before
    kept.write(Captured.of(state, Snapshot(31, 1), line.pilot.recipe_digest))
    assert len(kept._wrote.pieces) == 2
    assert again(shelf, line)[0].digest() == state.digest()


def event_fields(event: object) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__}  # type: ignore[attr-defined]


def test_after_something_was_forgotten_it_begins_anew(shelf: Shelf) -> None:
    line = line_of()
    state, kept = line.state(), Deltas(shelf, "p/1")
    feed(line, state, 0, 100, people=10)
    kept.write(Captured.of(state, Snapshot(100, 1), line.pilot.recipe_digest))
    state.forget("who", ["p3"])
    kept.write(Captured.of(state, Snapshot(100, 1), line.pilot.recipe_digest))
    assert len(kept._wrote.pieces) == 1
    assert again(shelf, line)[0].digest() == state.digest()


def test_two_owners_never_mix(shelf: Shelf) -> None:
    line = line_of()
    state, slept, owner = line.state(), Deltas(shelf, "p/1"), Deltas(shelf, "p/1")
    feed(line, state, 0, 50, people=5)
    old = Captured.of(state, Snapshot(50, 1), line.pilot.recipe_digest)
    slept.write(old)
    feed(line, state, 50, 50, people=5)
    owner.write(Captured.of(state, Snapshot(100, 1), line.pilot.recipe_digest))
    slept.write(old)  # it did not hear yet
    assert again(shelf, line)[1] == Snapshot(50, 1)  # older, and whole
    owner.write(Captured.of(state, Snapshot(100, 1), line.pilot.recipe_digest))
    found, stands = again(shelf, line)
    assert (found.digest(), stands) == (state.digest(), Snapshot(100, 1))
    for old_piece in slept._wrote.pieces:
        assert shelf.get(f"p/1/{old_piece}") is None


def test_what_cannot_be_read_is_no_snapshot_or_said(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    line = line_of()
    assert again(shelf, line)[1] is None
    state, kept = line.state(), Deltas(shelf, "p/1")
    feed(line, state, 0, 50, people=5)
    kept.write(Captured.of(state, Snapshot(50, 1), line.pilot.recipe_digest))
    assert Deltas(shelf, "p/1").restore(line.state(), "other features") is None
    piece = f"p/1/{kept._wrote.pieces[0]}"
    shelf.put(piece, (shelf.get(piece) or b"")[:-40])
    with pytest.raises(DataError, match="damaged"):
        again(shelf, line)
    shelf.remove([piece])
    assert again(shelf, line)[1] is None
    assert "a piece of the snapshot is missing" in caplog.text


def test_a_shelf_that_is_away_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = line_of()
    away = open_redis("redis://127.0.0.1:1/0")
    assert Deltas(away, "p/1").restore(line.state(), line.pilot.recipe_digest) is None
    assert "read from the ledger" in caplog.text
    with pytest.raises(AdapterError):
        Deltas(away, "p/1").write(Captured.of(line.state(), Snapshot(0, 0), line.pilot.recipe_digest))
    (tmp_path / "in the way").write_text("")
    with pytest.raises(AdapterError, match="cannot be kept"):
        open_folder("file:///in the way", tmp_path).put("p/1/x", b"")


def test_an_engine_goes_on_from_it_wherever_it_is(starter_trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(starter_trained.var, tmp_path / "var")
    manifest = (PILOTS / "starter" / "pilot.yaml").read_text() + "\nadapters: {snapshots: 'file:///elsewhere'}\n"
    pilot = parse(manifest, folder=PILOTS / "starter")
    open_: Callable[[], Engine] = lambda: Engine.open(pilot, tmp_path / "var")  # noqa: E731
    engine = open_()
    engine.decide(starter_trained.lines("live", 100))
    engine.save()
    engine.decide(starter_trained.lines("live", 130)[100:])
    digest = engine.state.digest()
    engine.ledger.close()
    assert not (tmp_path / "var" / "state" / "features.npz").exists()
    one = open_()
    assert (one.recovered, one.state.digest()) == (30, digest)
    one.close()
