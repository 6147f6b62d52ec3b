"""What is null is left out of features."""

from __future__ import annotations

import numpy as np

from flightworthy.decision.line import FeatureRows, Line
from flightworthy.manifest.load import parse


def test_a_text_that_is_not_there_is_not_counted() -> None:
    pilot = parse(MANIFEST_WITH_NULL_TEXT)
    line = Line(pilot, {})
    raws = [{"id": str(i), "at": f"2026-01-01T00:00:0{i}Z", "who": 1, "s": None if i % 2 else "a"} for i in range(6)]
    events = [line.contract.read(raw) for raw in raws]
    frame = line.features(line.state(), FeatureRows(np.zeros(6, np.int64), events, np.arange(6), np.full(6, np.nan)))
    found = frame[:, line.frames.features]
    assert found[:, list(pilot.feature_names).index("person.kinds_1d")].tolist() == [1, 1, 1, 1, 1, 1]
    assert found[:, list(pilot.feature_names).index("person.known_1d")].tolist() == [1, 1, 2, 2, 3, 3]


MANIFEST_WITH_NULL_TEXT = """
flightworthy: 1
pilot: nulls
objective: {kpi: k, currency: EUR, value: [{when: bad > 0, worth: 1}], target: {improvement: 1, within: 1d}}
events:
  id: id
  time: at
  entities: {who: who}
  fields: {id: {type: text}, at: {type: time}, who: {type: integer}, s: {type: text, nullable: true}}
outcomes: {label: bad, type: number, delay: 1d}
features: {groups: {person: {by: who, windows: [1d], aggregate: {kinds: distinct(s), known: count(s)}}}}
model: {objective: regression}
policy: {actions: [a, b], rules: [{then: a}], baseline: [{then: a}]}
"""
