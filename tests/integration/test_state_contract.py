"""What every feature state must do, in memory and shared in Redis: the same bits for the same order of events."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from services.redis import Redis

from flightworthy.adapters.redis.factory import open_entities
from flightworthy.decision.line import FeatureRows, Line
from flightworthy.ground.errors import AdapterError, LedgerError
from flightworthy.integration.features.shared import EntityStore, SharedState
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.load import parse

MANIFEST = """
flightworthy: 1
pilot: states
objective: {kpi: k, currency: EUR, value: [{when: bad > 0, worth: 1}], target: {improvement: 1, within: 1d}}
events:
  id: id
  time: at
  entities: {who: who, shop: shop}
  lateness: 1h
  fields:
    id: {type: text}
    at: {type: time}
    who: {type: text}
    shop: {type: integer}
    money: {type: number, nullable: true}
    how: {type: text, nullable: true}
outcomes: {label: bad, type: number, delay: 1d}
features:
  groups:
    person:
      by: who
      windows: [10m, 3h, 4 events]
      aggregate: {n: count(), sum: sum(money), mean: mean(money), min: min(money), max: max(money), sd: std(money),
                  ways: distinct(how), since: since_last(), age: age(), bad: mean(bad)}
    place:
      by: shop
      windows: [1h]
      aggregate: {n: count(), mean: mean(money)}
    both:
      by: [who, shop]
      windows: [2h]
      aggregate: {n: count(), ways: distinct(how)}
    all:
      by: []
      windows: [30m]
      aggregate: {n: count(), max: max(money)}
model: {objective: regression}
policy: {actions: [a, b], rules: [{then: a}], baseline: [{then: a}]}
"""
Make = Callable[..., FeatureState]


@pytest.fixture(scope="module")
def line() -> Line:
    """Of a pilot with all kinds of groups."""
    return Line(parse(MANIFEST), {})


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
def make(request: pytest.FixtureRequest, line: Line) -> Iterator[Make]:
    """Makes states; those of one test with the same name share what they have."""
    if request.param == "memory":
        yield lambda *_: line.state()
        return
    store, prefix = store_of(request.getfixturevalue("redis"))
    yield lambda writer="one": shared(line, store, prefix, writer)


_PREFIXES = itertools.count()


def store_of(redis: Redis) -> tuple[EntityStore, str]:
    """A store, and keys that nobody had before."""
    return open_entities(redis.url("5")), f"test-{next(_PREFIXES)}-{random.random()}"


def shared(line: Line, store: EntityStore, prefix: str, writer: str) -> SharedState:
    """A state of one writer."""
    return SharedState(line.plans, store, f"{prefix}:{writer}", prefix, sum(writer.encode()))


class Rows:
    """Random arrivals, outcomes among them; rows of any part of them."""

    def __init__(self, line: Line, n: int, seed: int) -> None:
        rng = random.Random(seed)
        self.line, self.kinds, self.events, self.seqs, self.labels = line, [], [], [], []
        minute = 0
        for i in range(1, n + 1):
            if self.events and rng.random() < 0.2:
                about = rng.randrange(len(self.events))
                self._add(1, self.events[about], self.seqs[about], rng.choice([0.0, 1.0, 2.5]))
                continue
            minute += rng.choice([0, 0, 1, 5, 40])
            raw = {"id": str(i), "at": f"2026-01-{1 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z",
                   "who": rng.choice("abc"), "shop": rng.randrange(3), "money": rng.choice([None, rng.random(), -7.25, 1e9]),
                   "how": rng.choice([None, "chip", "web"])}
            self._add(0, line.contract.read(raw), i, math.nan)

    def _add(self, kind: int, event: Any, seq: int, label: float) -> None:
        for column, value in ((self.kinds, kind), (self.events, event), (self.seqs, seq), (self.labels, label)):
            column.append(value)

    def apply(self, state: FeatureState, start: int, stop: int) -> bytes:
        """Bits of the features of the events in a part."""
        part = slice(start, stop)
        state.reach(stop, 0)
        frame = self.line.features(state, FeatureRows(np.array(self.kinds[part], np.int64), self.events[part],
                                                      np.array(self.seqs[part]), np.array(self.labels[part])))
        return bytes(np.where(np.isnan(frame), np.nan, frame)[:, self.line.frames.features].tobytes())


@pytest.mark.parametrize("seed", range(6))
def test_bits_depend_on_the_order_alone(make: Make, line: Line, seed: int) -> None:
    rows, rng = Rows(line, 150, seed), random.Random(seed)
    expected = rows.apply(line.state(), 0, 150)
    state, cuts, found = make(), sorted(rng.sample(range(1, 150), 9)), b""
    for start, stop in itertools.pairwise([0, *cuts, 150]):
        found += rows.apply(state, start, stop)
    assert found == expected
    assert len(expected) > 10_000


def test_what_is_forgotten_is_gone_and_the_rest_stays(make: Make, line: Line) -> None:
    rows, reference, state = Rows(line, 120, 1), line.state(), make()
    for one in (reference, state):
        rows.apply(one, 0, 60)
        one.forget("who", ["a"])
    assert rows.apply(state, 60, 120) == rows.apply(reference, 60, 120)


def test_nothing_is_applied_for_nothing(make: Make, line: Line) -> None:
    assert Rows(line, 10, 1).apply(make(), 4, 4) == b""


@pytest.mark.server
@pytest.mark.parametrize("seed", range(4))
def test_writers_in_turns_have_the_bits_of_one(redis: Redis, line: Line, seed: int) -> None:
    rows, rng = Rows(line, 200, seed), random.Random(seed)
    store, prefix = store_of(redis)
    states = [shared(line, store, prefix, writer) for writer in ("one", "two", "three")]
    events_only = Rows(line, 1, 0)
    events_only.kinds, events_only.events, events_only.seqs, events_only.labels = (
        [v for v, kind in zip(column, rows.kinds, strict=True) if kind == 0]
        for column in (rows.kinds, rows.events, rows.seqs, rows.labels))
    n = len(events_only.kinds)
    expected, reference = b"", line.state()
    found = b""
    for start in range(0, n, 7):
        stop = min(n, start + 7)
        expected += events_only.apply(reference, start, stop)
        found += events_only.apply(rng.choice(states), start, stop)  # who has not seen it lately computes twice
    assert found == expected
    assert sum(state.trips for state in states) > n // 7


@pytest.mark.server
def test_one_round_trip_where_entities_are_known(redis: Redis, line: Line) -> None:
    rows = Rows(line, 100, 3)
    store, prefix = store_of(redis)
    state = shared(line, store, prefix, "one")
    rows.apply(state, 0, 50)
    before = state.trips
    for start in range(50, 100, 10):
        rows.apply(state, start, start + 10)
    assert state.trips - before <= 5 + 3  # a pair may be new


@pytest.mark.server
def test_a_restart_goes_on_and_what_no_ledger_has_is_taken_back(redis: Redis, line: Line) -> None:
    rows, (store, prefix) = Rows(line, 90, 4), store_of(redis)
    first = shared(line, store, prefix, "one")
    for start in (0, 30):
        rows.apply(first, start, start + 30)
    rows.apply(first, 60, 90)  # in flight: its ledger never had it
    again = shared(line, store, prefix, "one")
    assert again.stands(60) == (60, 0)
    assert again.mixed == 0
    reference = line.state()
    rows.apply(reference, 0, 60)
    assert rows.apply(again, 60, 90) == rows.apply(reference, 60, 90)
    assert shared(line, store, prefix, "one").stands(90) == (90, 0)


@pytest.mark.server
def test_what_others_built_on_cannot_be_taken_back_and_is_told(redis: Redis, line: Line) -> None:
    rows, (store, prefix) = Rows(line, 60, 5), store_of(redis)
    rows.apply(shared(line, store, prefix, "one"), 0, 30)
    rows.apply(shared(line, store, prefix, "two"), 30, 60)
    again = shared(line, store, prefix, "one")
    assert again.stands(0)[0] == 0
    assert again.mixed > 0


@pytest.mark.server
def test_a_store_that_lost_what_it_had_is_noticed(redis: Redis, line: Line) -> None:
    import redis as client

    rows, (store, prefix) = Rows(line, 60, 6), store_of(redis)
    state = shared(line, store, prefix, "one")
    rows.apply(state, 0, 30)
    client.Redis(port=redis.port, db=5).flushdb()
    with pytest.raises(LedgerError, match="not what it was") as error:
        rows.apply(state, 30, 60)
    assert error.value.retryable
    again, reference = shared(line, store, prefix, "one"), line.state()
    assert again.stands(30)[0] == 0  # from the first entry on
    assert rows.apply(again, 0, 60) == rows.apply(reference, 0, 60)


@pytest.mark.server
def test_only_what_lies_within_windows_expires(redis: Redis, line: Line) -> None:
    import redis as client

    store, prefix = store_of(redis)
    Rows(line, 30, 7).apply(shared(line, store, prefix, "one"), 0, 30)
    found = client.Redis(port=redis.port, db=5)
    lives = {key.decode().split(":")[1]: found.pttl(key) for key in found.scan_iter(match=f"{prefix}:*") if b":\x1f" in key}
    assert lives["person"] == -1  # its age counts from the first event
    assert 0 < lives["place"] <= 1000 * 3600 * (24 + 1 + 1)


@pytest.mark.server
def test_a_store_that_is_away_is_an_error_that_passes(line: Line, tmp_path_factory: pytest.TempPathFactory) -> None:
    own = Redis(tmp_path_factory.mktemp("redis"))
    state = shared(line, open_entities(own.url("0")), "away", "one")
    own.kill()
    with pytest.raises(LedgerError, match="does not answer") as error:
        Rows(line, 10, 8).apply(state, 0, 10)
    assert error.value.retryable


def test_a_password_in_an_address_is_refused() -> None:
    with pytest.raises(AdapterError, match="REDIS_PASSWORD") as error:
        open_entities("redis://user:hidden@127.0.0.1/0")
    assert "hidden" not in str(error.value)
