"""The kernel against SQL by brute force, on random histories with ties, late events, and late or corrected outcomes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from benchmarks.oracle import Ask, Oracle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flightworthy.integration.features.plan import compile_groups
from flightworthy.integration.features.state import FeatureState, Rows
from flightworthy.manifest.load import parse

HOUR = 3_600_000_000
MANIFEST = """
flightworthy: 1
pilot: oracle
objective: {kpi: k, currency: EUR, value: [{when: bad > 0, worth: 1}], target: {improvement: 1, within: 1d}}
events:
  id: id
  time: at
  entities: {who: who}
  lateness: LATENESS
  fields:
    id: {type: text}
    at: {type: time}
    who: {type: integer}
    money: {type: decimal, scale: 2, nullable: true}
    shop: {type: integer}
outcomes: {label: bad, type: number, delay: 1d ABSENT}
features:
  groups:
    cust:
      by: who
      windows: [3h, 10h, 4 events]
      aggregate: {n: count(), known: count(money), sum: sum(money), mean: mean(money), min: min(money), max: max(money),
                  sd: std(money), shops: distinct(shop), last: last(money), since: since_last(), age: age()}
    risk:
      by: who
      delay: 2h
      windows: [5h, 3 events]
      aggregate: {n: count(), bad: sum(bad), rate: mean(bad), worst: max(bad), spread: std(bad)}
model: {objective: regression}
policy: {actions: [a, b], rules: [{then: a}], baseline: [{then: a}]}
"""
OPS = {"n": "count", "known": "n", "sum": "sum", "mean": "mean", "min": "min", "max": "max", "sd": "std",
       "shops": "distinct", "spread": "std", "bad": "sum", "rate": "mean", "worst": "max"}
FIELDS = {"n": "money", "known": "money", "sum": "money", "mean": "money", "min": "money", "max": "money",
          "sd": "money", "shops": "shop", "spread": "label", "bad": "label", "rate": "label", "worst": "label"}

EVENT = st.tuples(st.integers(0, 30), st.integers(0, 2), st.none() | st.integers(-500, 9_999_999), st.integers(0, 3))
ARRIVALS = st.lists(EVENT | st.tuples(st.integers(0, 60), st.integers(0, 5)), min_size=1, max_size=60)


def arrange(arrivals: list[tuple[Any, ...]]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Events and outcomes as columns; an outcome names an earlier event by its place among them."""
    events: dict[str, list[Any]] = {"position": [], "time": [], "key": [], "money": [], "shop": []}
    outcomes: dict[str, list[Any]] = {"position": [], "event": [], "label": []}
    for position, item in enumerate(arrivals):
        if len(item) == 4:
            at, who, money, shop = item
            for name, value in zip(events, (position, at * HOUR // 2, who, money, shop), strict=True):
                events[name].append(value)
        elif events["position"]:
            for name, value in zip(outcomes, (position, events["position"][item[0] % len(events["position"])],
                                              float(item[1])), strict=True):
                outcomes[name].append(value)
    return events, outcomes


def rows_of(events: dict[str, list[Any]], outcomes: dict[str, list[Any]], absent: float) -> Rows:
    """The same arrivals as the kernel takes them."""
    at = {p: i for i, p in enumerate(events["position"])}
    order = sorted([(p, 0, i) for p, i in at.items()]
                   + [(p, 1, j) for j, p in enumerate(outcomes["position"])])
    origin = [i if kind == 0 else at[outcomes["event"][i]] for _, kind, i in order]
    money = [math.nan if events["money"][i] is None else float(events["money"][i]) for i in origin]
    return Rows(np.array([kind for _, kind, _ in order]), np.array([events["time"][i] for i in origin]),
                np.array([events["position"][i] for i in origin]),
                np.array([absent if kind == 0 else outcomes["label"][i] for _, kind, i in order], np.float64),
                {"money": np.array(money), "shop": np.array([float(events["shop"][i]) for i in origin])},
                {"who": np.array([events["key"][i] for i in origin])})


def plans(absent: str, lateness: str = "100d") -> Any:
    return compile_groups(parse(MANIFEST.replace("ABSENT", absent).replace("LATENESS", lateness)))


def in_time(arrivals: list[tuple[Any, ...]], halves: int) -> list[tuple[Any, ...]]:
    """Without the events that come more than so many half hours behind the newest one."""
    newest, kept = 0, []
    for item in arrivals:
        if len(item) == 4:
            if item[0] < newest - halves:
                continue
            newest = max(newest, item[0])
        kept.append(item)
    return kept


def part(rows: Rows, a: int, b: int) -> Rows:
    """Rows a…b."""
    return Rows(rows.kinds[a:b], rows.times[a:b], rows.sequences[a:b], rows.label[a:b],
                {k: v[a:b] for k, v in rows.fields.items()}, {k: v[a:b] for k, v in rows.keys.items()})


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("absent", [", absent: 0", ""])
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(arrivals=ARRIVALS, halves=st.sampled_from([2, 6, 200]))
def test_every_feature_equals_brute_force_sql(absent: str, arrivals: list[tuple[Any, ...]], halves: int) -> None:
    """Counts, sums of money, extremes and last values exactly; means to the last digit; deviations to 1e-12."""
    events, outcomes = arrange(in_time(arrivals, halves))
    if not events["position"]:
        return
    made = plans(absent, f"{30 * halves}m")
    nothing = 0.0 if absent else math.nan
    rows = rows_of(events, outcomes, nothing)
    found = FeatureState(made).apply(rows)[rows.kinds == 0]
    oracle = Oracle(events, outcomes, nothing if absent else None)
    columns = [column for plan in made for column in plan.columns]
    for i, column in enumerate(columns):
        name = column.name.split(".")[1].split("_")[0]
        plan = made[0] if column.group == "cust" else made[1]
        if column.window is None:
            place = ("last", "since", "age").index(name)
            wanted = [row[place] for row in oracle.before("money")]
            scale = 100.0 if name == "last" else 1.0
        else:
            delay = int(plan.windows[0, 2])
            wanted = oracle.ask(Ask(OPS[name], FIELDS[name], column.window.length, column.window.events, delay))
            scale = 100.0 if FIELDS[name] == "money" and name not in ("n", "known") else 1.0
        expected = np.array([math.nan if v is None else v for v in wanted], np.float64)
        if name in ("sd", "spread", "mean", "rate"):
            np.testing.assert_allclose(found[:, i], expected / scale, rtol=1e-9 if name in ("sd", "spread") else 4e-16, atol=1e-9
                                       if name in ("sd", "spread") else 0, err_msg=column.name)
        else:
            np.testing.assert_array_equal(found[:, i], expected / scale, err_msg=column.name)


@settings(max_examples=60)
@given(arrivals=ARRIVALS, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_how_arrivals_are_cut_into_batches_changes_no_bit(arrivals: list[tuple[Any, ...]], cuts: list[int]) -> None:
    """One batch, random batches and single rows give the same features and the same state."""
    events, outcomes = arrange(arrivals)
    if not events["position"]:
        return
    made, rows = plans(", absent: 0"), rows_of(events, outcomes, 0.0)
    n = len(rows.kinds)
    whole = FeatureState(made)
    expected = whole.apply(rows)
    for edges in (sorted({0, n, *(c for c in cuts if c < n)}), list(range(n + 1))):
        state = FeatureState(made)
        found = np.concatenate([state.apply(part(rows, a, b)) for a, b in pairwise(edges)])
        assert found.tobytes() == expected.tobytes()
        assert state.digest() == whole.digest()


def test_sums_leave_no_drift_and_money_is_exact() -> None:
    """After a million of large, small and leaving amounts, sums are those of the window alone."""
    made = plans(", absent: 0")
    rng = np.random.default_rng(1)
    n = 200_000
    cents = rng.integers(0, 5_000_000, n).astype(np.float64)
    times = np.cumsum(rng.integers(0, HOUR // 20, n))
    rows = Rows(np.zeros(n, np.int64), times, np.arange(n), np.zeros(n), {"money": cents, "shop": np.zeros(n)},
                {"who": np.zeros(n, np.int64)})
    found = FeatureState(made).apply(rows)
    names = [c.name for plan in made for c in plan.columns]
    start = np.searchsorted(times, times - 10 * HOUR, side="right")
    exact = np.concatenate([[0], np.cumsum(cents.astype(np.int64))])
    sums = (exact[1:] - exact[start]) / 100
    np.testing.assert_array_equal(found[:, names.index("cust.sum_10h")], sums)
    last = cents[start[-1]:].astype(np.int64)
    count = len(last)
    spread = count * sum(int(x) ** 2 for x in last) - sum(int(x) for x in last) ** 2
    assert found[-1, names.index("cust.sd_10h")] == pytest.approx(math.sqrt(spread / (count * (count - 1))) / 100, rel=1e-15)


def test_the_limit_keeps_the_newest_events_and_says_so() -> None:
    """A window never sees more than the limit; what it lost is counted; memory stays within the bound."""
    text = MANIFEST.replace("ABSENT", "").replace("LATENESS", "100d").replace("    cust:\n      by: who\n      windows: [3h, 10h, 4 events]",
                                                  "    cust:\n      by: who\n      limit: 16\n      windows: [3h, 10h, 4 events]")
    made = compile_groups(parse(text))[:1]
    n = 100
    rows = Rows(np.zeros(n, np.int64), np.arange(n), np.arange(n), np.full(n, np.nan),
                {"money": np.arange(n, dtype=np.float64), "shop": np.arange(n, dtype=np.float64)},
                {"who": np.zeros(n, np.int64)})
    state = FeatureState(made)
    found = state.apply(rows)
    names = [c.name for c in made[0].columns]
    assert found[-1, names.index("cust.n_10h")] == 16
    assert found[-1, names.index("cust.sum_10h")] == sum(range(84, 100)) / 100
    assert found[-1, names.index("cust.min_10h")] == 0.84
    assert found[-1, names.index("cust.shops_10h")] == 16
    report = state.report()[0]
    assert report["dropped"] == 84
    assert made[0].most_bytes >= 8 * (made[0].header_width + 16 * made[0].entry_width)
