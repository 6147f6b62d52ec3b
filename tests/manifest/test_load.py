"""Manifests: every mistake at once, each with its place."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from flightworthy.ground.errors import ManifestError
from flightworthy.manifest.explain import explain
from flightworthy.manifest.load import load, parse
from flightworthy.manifest.schema import json_schema
from flightworthy.manifest.text import read
from tests.conftest import PILOTS

SOURCE = (PILOTS / "fraud" / "pilot.yaml").read_text()


def problems(source: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ManifestError) as caught:
        parse(source)
    for problem in caught.value.problems:
        assert problem.line >= 1
    return [(p.path, p.message, p.hint) for p in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "path", "says"), [
    ("lateness: 6h", "latenes: 6h", "events.latenes", "unknown key"),
    ("lateness: 6h", "lateness: 6", "events.lateness", "with its unit"),
    ("holdout: 10%", "holdout: 0.1", "rollout.holdout", "percentage"),
    ("id: transaction_id", "id: transaction", "events.id", "unknown field 'transaction'"),
    ("time: tx_time", "time: amount", "events.time", "'amount' is decimal"),
    ("{card: card_id, terminal", "{card: channel, terminal", "events.entities.card", "may be null"),
    ("max_amount: max(amount)\n        since", "max_amount: max(amout)\n        since", "features.groups.card.aggregate.max_amount",
     "unknown field 'amout'"),
    ("sd_amount: std(amount)", "sd_amount: std(channel)", "features.groups.card_long.aggregate.sd_amount", "std of a category"),
    ("sd_amount: std(amount)", "sd_amount: median(amount)", "features.groups.card_long.aggregate.sd_amount", "unknown operation"),
    ("windows: [90d]", "windows: []", "features.groups.card_long.aggregate.n", "needs windows"),
    ("windows: [90d]", "windows: [90d, 90 d]", "features.groups.card_long.windows", "listed twice"),
    ("windows: [90d]", "windows: [0 events]", "features.groups.card_long.windows[0]", "holds 1 to"),
    ("windows: [90d]", "windows: [90d]\n      limit: 100", "features.groups.card_long.limit", "not a power of two"),
    ("night: hour(tx_time) <= 6", "night: hour(tx_tim) <= 6", "features.derived.night", "unknown name 'tx_tim'"),
    ("night: hour(tx_time) <= 6", "night: hour(amount) <= 6", "features.derived.night", "expected time"),
    ("night: hour(tx_time) <= 6", "amount: hour(tx_time) <= 6", "features.derived.amount", "already the name"),
    ("then: decline}\n    - {if: 1.8", "then: declin}\n    - {if: 1.8", "policy.rules[0].then", "unknown action"),
    ("    - {if: amount > 220", "    - {if: score > 220", "policy.baseline[0].if", "unknown name 'score'"),
    ("    - {then: approve}\n  baseline", "    - {if: score > 0, then: approve}\n  baseline", "policy.rules[2]", "only the last rule"),
    ("fallback: [previous, baseline, {then: review}]", "fallback: [previous]", "policy.fallback", "cannot fail"),
    ("adverse: [review, decline]", "adverse: [refuse]", "policy.adverse[0]", "unknown action"),
    ("{type: category, values: [chip, contactless, online]", "{type: category", "events.fields.channel", "lists its values"),
    ("scale: 2, min: 0", "scale: 2, pattern: x, min: 0", "events.fields.amount.pattern", "does not apply to decimal"),
    ("max_length: 40, columns: CUSTOMER_ID", "pattern: '[', columns: CUSTOMER_ID", "events.fields.card_id.pattern", "not a regular"),
    ("min: 0, max: 50000", "min: 10, max: 5", "events.fields.amount.min", "above max"),
    ("objective: binary", "objective: binary\n  interval: 90%", "model.interval", "belongs to a regression"),
    ("type: boolean\n  delay", "type: number\n  delay", "model.objective", "needs a boolean label"),
    ("horizon: 14d", "horizon: 1d", "outcomes.horizon", "shorter than the delay"),
    ("label: fraud", "label: amount", "outcomes.label", "also a field"),
    ("rounds: 200", "rounds: 200\n  inputs: [amount, nothing.*]", "model.inputs[1]", "unknown feature 'nothing.*'"),
    ("worth: amount}", "worth: amount > 1}", "objective.value[0].worth", "expected number"),
    ("{by: time, share", "{by: month, share", "model.train.split.by", "unknown entity 'month'"),
    ("by: card\n  holdout", "by: person\n  holdout", "rollout.by", "unknown entity"),
    ("pilot: card-fraud", "pilot: card-fraud\npilot: again", "pilot", "written twice"),
    ("pilot: card-fraud", "pilot: &a card-fraud", "", "anchors"),
])
def test_a_mistake_is_found_where_it_is(old: str, new: str, path: str, says: str) -> None:
    assert old in SOURCE
    assert any(p == path and says in m for p, m, _ in problems(SOURCE.replace(old, new, 1))), problems(SOURCE.replace(old, new, 1))


def test_all_mistakes_come_at_once_in_order_with_the_nearest_name() -> None:
    broken = SOURCE.replace("lateness: 6h", "latenes: 6h").replace("windows: [90d]", "windows: [90x]").replace(
        "night: hour(tx_time) <= 6", "night: hour(tx_tim) <= 6").replace("holdout: 10%", "holdout: lots")
    found = problems(broken)
    assert [p for p, _, _ in found[:1]] == ["events.latenes"]
    assert {"features.groups.card_long.windows[0]", "features.derived.night", "rollout.holdout"} <= {p for p, _, _ in found}
    assert "did you mean 'lateness'?" in found[0][2]
    lines = [p for p, _, _ in found]
    assert lines.index("events.latenes") < lines.index("features.derived.night") < lines.index("rollout.holdout")


def test_places_count_from_one() -> None:
    with pytest.raises(ManifestError) as caught:
        parse(SOURCE.replace("lateness: 6h", "latenes: 6h"))
    problem = caught.value.problems[0]
    line = SOURCE.splitlines().index("  lateness: 6h") + 1
    assert (problem.line, problem.column) == (line, 12)
    assert "pilot.yaml:" in str(caught.value)


@pytest.mark.parametrize("source", ["", "[]", "a: [", "just text", "x" * 2_000_000, "a: " * 50 + "1", "[" * 200 + "]" * 200, "\tx: 1"])
def test_anything_at_all_gives_a_clear_error(source: str) -> None:
    assert problems(source)


def test_words_are_words() -> None:
    text = read("a: no\nb: 010\nc: '1'\nd: 1.50\ne: ~\nf: true\n")
    assert text.value == {"a": "no", "b": 10, "c": "1", "d": 1.5, "e": None, "f": True}


@pytest.mark.parametrize("name", ["fraud", "starter", "turbofan"])
def test_built_in_pilots_hold_match_the_schema_and_are_explained(name: str) -> None:
    import yaml

    pilot = load(PILOTS / name)
    jsonschema.Draft202012Validator.check_schema(json_schema())
    raw = json.loads(json.dumps(yaml.safe_load((PILOTS / name / "pilot.yaml").read_text()), default=str))
    jsonschema.validate(raw, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw | {"surprise": 1}, json_schema())
    words = explain(pilot)
    for expected in (*pilot.manifest.events.fields, *pilot.manifest.features.derived, *pilot.manifest.policy.actions):
        assert expected in words


def test_the_digest_follows_meaning_and_nothing_else() -> None:
    base = parse(SOURCE)
    assert parse(SOURCE.replace("amount > 220", "amount > 221")).digest != base.digest
    assert parse(SOURCE.replace("amount > 220", "amount > 221")).recipe_digest == base.recipe_digest
    assert parse(SOURCE + "\nadapters: {ledger: 'sqlite:///other.db'}\n").digest == base.digest
    assert parse(SOURCE.replace("windows: [90d]", "windows: [91d]").replace("_90d", "_91d")).recipe_digest != base.recipe_digest


def test_a_missing_file_is_a_manifest_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"cannot read|No such file"):
        load(tmp_path)
