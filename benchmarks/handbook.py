"""Reproduce the Fraud Detection Handbook's published results with our features, beat them with the pilot's own model, and
hold the features to bit-equality between training, batches and single events, and to SQL by brute force.

Usage: python -m benchmarks.handbook DATA (transactions.parquet of the Handbook's simulated data)
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ceiling import ceiling
from benchmarks.common import PILOTS, history, step, write
from benchmarks.oracle import Ask, Oracle
from benchmarks.protocol import card_precision, card_suspicion, week
from flightworthy.decision import learn
from flightworthy.decision.line import Line
from flightworthy.integration.features.state import Rows
from flightworthy.manifest.check import instant
from flightworthy.model.metrics import average_precision, roc_auc
from flightworthy.model.train import train

Floats = NDArray[np.float64]
DAY = 86_400_000_000
FIRST = instant("2018-04-01T00:00:00Z") // DAY
START = instant("2018-07-25T00:00:00Z") // DAY - FIRST
ORACLE_ROWS, ORACLE_CARDS = 400, 40


def main(data: str) -> None:
    """Run everything and write ``out/bench/handbook.json``."""
    with step("published features"):
        pilot, line, past, _ = history(Path(__file__).parent / "handbook.yaml", data)
    found: dict[str, Any] = {"published": published(line, past)}
    with step("parity: training, random batches, single events"):
        found["parity_mismatches"] = parity(line, past)
    with step("oracle: SQL by brute force"):
        found["oracle_mismatches"], found["oracle_values"] = oracle(pilot, past)
    with step("the pilot's features"):
        pilot, line, past, _ = history(PILOTS / "fraud", data)
    with step("the pilot's model"):
        found["own"] = own(pilot, line, past, data)
    with step("parity of the pilot's features"):
        found["parity_mismatches"] += parity(line, past)
    found["parity_events"] = 2 * 3 * len(past.events)
    found["refused"] = past.refused
    write("handbook", found)


def columns(past: learn.History, card_field: str = "card_id") -> tuple[Any, Any, Floats]:
    """Day (0 = first), card and label of every event."""
    card = np.array([int(getattr(event, card_field)) for event in past.events])
    return past.times // DAY - FIRST, card, past.labels


def scores(day: Any, card: Any, y: Floats, guess: Floats) -> dict[str, float]:
    """The three published measures."""
    ones = np.ones(len(y))
    return {"auc": roc_auc(y, guess, ones), "ap": average_precision(y, guess, ones),
            "cp100": card_precision(day, card, y, guess)}


def published(line: Line, past: learn.History) -> dict[str, dict[str, float]]:
    """The Handbook's models on its week, with our fifteen features."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    day, card, y = columns(past)
    rows = week(day, card, y, START)
    x = line.inputs(past.frame)
    scaler = StandardScaler().fit(x[rows.train])
    out = {}
    for name, model in (("logistic_regression", LogisticRegression(random_state=0)),
                        ("decision_tree_2", DecisionTreeClassifier(max_depth=2, random_state=0)),
                        ("random_forest", RandomForestClassifier(random_state=0, n_jobs=2))):
        with step(name):
            model.fit(scaler.transform(x[rows.train]), y[rows.train])
            guess = model.predict_proba(scaler.transform(x[rows.test]))[:, 1]
            out[name] = scores(day[rows.test], card[rows.test], y[rows.test], guess)
    return out


def own(pilot: Any, line: Line, past: learn.History, data: str) -> dict[str, float]:
    """The pilot's model, trained on labels known before the test week begins; the week itself was never tuned on."""
    day, card, y = columns(past)
    rows = week(day, card, y, START)
    now = int((FIRST + START + 14) * DAY)
    trained = train(pilot, learn.table_of(pilot, line, past, now))
    guess = trained.predictor.predict(line.inputs(past.frame[rows.test]))
    reported = past.frame[:, line.frames.index["terminal_risk.frauds_28d"]]
    found = scores(day[rows.test], card[rows.test], y[rows.test], guess)
    by_card = card_suspicion(day[rows.test], card[rows.test], guess)
    return {**found, "cp100": card_precision(day[rows.test], card[rows.test], y[rows.test], by_card),
            "cp100_by_payment": found["cp100"],
            "cp100_ceiling": ceiling(data, rows, day, card, y, reported),
            "validation_ap": trained.metrics["average_precision"].value}


def parity(line: Line, past: learn.History, seed: int = 1) -> int:
    """Feature values that differ in any bit between one replay, random batches and single events, on the whole file."""
    given = learn.ordered(line, past)
    kinds = given.kinds
    rng = np.random.default_rng(seed)
    n = len(kinds)
    cuts = np.unique(np.r_[0, np.cumsum(rng.geometric(1 / 200, n // 50)), n])
    wrong = 0
    for edges in (cuts[cuts <= n], np.arange(n + 1)):
        state = line.state()
        whole = _rows(line, state, given)
        found = np.concatenate([state.apply(_part(whole, a, b)) for a, b in pairwise(edges.tolist())])[kinds == 0]
        width = found.shape[1]
        start = line.frames.features.start
        wrong += int((found.view(np.int64) != np.ascontiguousarray(past.frame[:, start : start + width]).view(np.int64)).sum())
    return wrong


def _rows(line: Line, state: Any, given: Any) -> Rows:
    times = line.columns.times(given.events)
    numbers = line.columns.numbers(given.events, times)
    return Rows(given.kinds, times, given.seqs, given.labels, line.columns.kept(given.events, numbers, state),
                line.columns.keys(given.events, state))


def _part(rows: Rows, a: int, b: int) -> Rows:
    return Rows(rows.kinds[a:b], rows.times[a:b], rows.sequences[a:b], rows.label[a:b],
                {k: v[a:b] for k, v in rows.fields.items()}, {k: v[a:b] for k, v in rows.keys.items()})


def oracle(pilot: Any, past: learn.History, seed: int = 2) -> tuple[int, int]:
    """Counts, sums of money and rates of sampled cards and terminals against SQL; exact equality."""
    _, card, y = columns(past)
    terminal = np.array([event.terminal_id for event in past.events])
    cents = np.array([round(event.amount * 100) for event in past.events])
    rng = np.random.default_rng(seed)
    wrong = compared = 0
    for key, field, group, delay in ((card, "cents", "card", 0), (terminal, "label", "terminal", 7 * DAY)):
        chosen = rng.choice(np.unique(key), ORACLE_CARDS, replace=False)
        rows = np.flatnonzero(np.isin(key, chosen))
        told = rows[y[rows] == 1]
        # positions on one axis of arrivals: an outcome stands just before the events of its instant
        at = past.times[rows] * 2 + 1
        order = np.argsort(at, kind="stable")
        axis = {int(r): i for i, r in enumerate(rows[order].tolist())}
        later = [int(np.searchsorted(past.times[rows[order]], past.times[r] + 7 * DAY, side="left")) for r in told]
        sql = Oracle({"position": [4 * axis[int(r)] + 2 for r in rows[order]], "time": past.times[rows[order]],
                      "key": key[rows[order]], "cents": cents[rows[order]]},
                     {"position": [4 * p for p in later], "event": [4 * axis[int(r)] + 2 for r in told],
                      "label": np.ones(len(told))}, 0.0)
        sample = np.sort(rng.choice(len(rows), min(ORACLE_ROWS, len(rows)), replace=False))
        for length in (1, 7, 30):
            for op, name in (("count", f"{group}.n_{length}d"),
                             ("mean", f"{group}.{'mean' if group == 'card' else 'risk'}_{length}d")):
                wanted = sql.ask(Ask(op, field, length * DAY, delay=delay), [4 * int(i) + 2 for i in sample])
                expected = np.array([np.nan if v is None else v for v in wanted], np.float64)
                if field == "cents" and op == "mean":
                    total = sql.ask(Ask("sum", field, length * DAY, delay=delay), [4 * int(i) + 2 for i in sample])
                    count = sql.ask(Ask("count", field, length * DAY, delay=delay), [4 * int(i) + 2 for i in sample])
                    expected = np.array([float(t) / (c * 100.0) for t, c in zip(total, count, strict=True)])
                column = list(pilot.feature_names).index(name)
                got = past.frame[rows[order][sample], :][:, _start(past, pilot) + column]
                wrong += int((~((got == expected) | (np.isnan(got) & np.isnan(expected)))).sum())
                compared += len(sample)
    return wrong, compared


def _start(past: learn.History, pilot: Any) -> int:
    return Line(pilot, {}).frames.features.start


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

