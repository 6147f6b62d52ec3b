"""Training is replay: what is refused, what counts as labelled, and what is never seen."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from flightworthy.decision.learn import Labelled, read_history, table_of
from flightworthy.decision.line import Line
from flightworthy.ground.errors import DataError, ModelError
from flightworthy.manifest.load import load, parse
from flightworthy.model.train import train
from tests.conftest import PILOTS

DAY = 86_400_000_000


def row(i: int, day: float, label: float = math.nan, known_at: int | None = None, **changes: object) -> Labelled:
    hour = int(day * 24)
    raw = {"invoice": f"I{i}", "issued": f"2025-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z", "customer_id": "K1",
           "amount": 10.0 + i, "terms": "net30"}
    return Labelled(msgspec.json.encode({**raw, **changes}), label, known_at)


def test_refused_records_are_counted_and_left_out() -> None:
    line = Line(load(PILOTS / "starter"), {})
    past = [row(1, 1), row(1, 1), row(2, 2, amount=-1), row(3, 3, amount=1.005), Labelled(b"{", 0.0), row(4, 0)]
    history = read_history(line, past)
    assert history.refused == {"duplicate": 1, "range": 1, "malformed": 1, "scale": 1}
    assert [e.invoice for e in history.events] == ["I4", "I1"]
    with pytest.raises(DataError, match="no event of the history"):
        read_history(line, [Labelled(b"{", 0.0)])


def test_a_repaired_record_counts_though_its_id_was_refused_before() -> None:
    line = Line(load(PILOTS / "starter"), {})
    history = read_history(line, [row(1, 1, amount=1.234), row(1, 1), row(1, 2), row(2, 3)])
    assert history.refused == {"scale": 1, "duplicate": 1}
    assert [e.amount for e in history.events] == [11.0, 12.0]


def test_only_labels_known_by_then_are_learned_from() -> None:
    """Absence counts once the delay is over; a label that comes later than now does not count."""
    pilot = load(PILOTS / "starter")
    line = Line(pilot, {})
    history = read_history(line, [row(1, 0, 1.0), row(2, 1, 1.0, 2**60), row(3, 2), row(4, 3)])
    now = int(history.times[2]) + 30 * DAY
    table = table_of(pilot, line, history, now)
    assert table.y.tolist() == [1.0, 0.0, 0.0]
    assert table.times.tolist() == history.times[:3].tolist()
    assert table_of(pilot, line, history, now, since=int(history.times[2])).y.tolist() == [0.0]


def test_where_absence_counts_a_young_label_waits_for_the_others_of_its_age() -> None:
    """Of young events only one kind is labelled yet: learning from it would teach that young means that kind."""
    line = Line(load(PILOTS / "starter"), {})
    history = read_history(line, [row(1, 0, 1.0), row(2, 1), row(3, 2, 1.0, 0), row(4, 3)])
    table = table_of(line.pilot, line, history, int(history.times[1]) + 30 * DAY)
    assert table.y.tolist() == [1.0, 0.0]


def test_too_little_history_says_so() -> None:
    pilot = load(PILOTS / "starter")
    line = Line(pilot, {})
    history = read_history(line, [row(i, i / 24, float(i % 2)) for i in range(12)])
    with pytest.raises(ModelError, match="too little labelled history"):
        train(pilot, table_of(pilot, line, history, int(history.times[-1]) + 60 * DAY))


def test_features_at_training_are_those_at_decision_time() -> None:
    """The last event's features do not change when later events and labels are known."""
    line = Line(load(PILOTS / "starter"), {})
    past = [row(i, i / 2, float(i % 3 == 0)) for i in range(30)]
    early = read_history(line, past[:20]).frame
    late = read_history(line, past).frame
    np.testing.assert_array_equal(early, late[:20])


def test_a_regression_with_an_interval_covers_what_it_says() -> None:
    text = (PILOTS / "starter" / "pilot.yaml").read_text()
    a, b = text.index("outcomes:"), text.index("features:")
    text = text[:a] + "outcomes: {label: late, type: number, delay: 1d}\n\n" + text[b:]
    text = text.replace("mean(late)", "mean(late)").replace("objective: binary", "objective: regression\n  interval: 80%\n"
                        "  train: {split: {by: customer, share: 25%}}").replace("score * 0.02 * amount > 1.5", "high > 100")
    text = text.replace("when: late and action", "when: late > 0 and action").replace("when: late,", "when: late > 0,")
    pilot = parse(text, folder=PILOTS / "starter")
    line = Line(pilot, {})
    rng = np.random.default_rng(4)
    amounts = np.round(rng.uniform(1, 500, 1500), 2).tolist()
    past = [Labelled(msgspec.json.encode({"invoice": f"I{i}", "issued": f"2025-{1 + i // 125:02d}-{1 + (i // 5) % 25:02d}T10:00:00Z",
                                          "customer_id": f"K{i % 37}", "amount": a, "terms": "net30"}),
                     a / 10 + float(rng.normal(0, 3))) for i, a in enumerate(amounts)]
    history = read_history(line, past)
    trained = train(pilot, table_of(pilot, line, history, 2**60))
    from flightworthy.model.asked import LoadedModel

    answers = LoadedModel(trained.artifact, pilot.folder).predict(line.inputs(history.frame))
    truth = history.labels
    inside = (answers[:, 1] <= truth) & (truth <= answers[:, 2])
    assert answers.shape == (1500, 3)
    assert 0.72 < inside.mean() < 0.95
    assert trained.metrics["rmse"].value < 5
