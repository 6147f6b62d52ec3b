"""Artefacts, flavours of a pilot's own, and what training promises about its intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flightworthy.ground.errors import ModelError
from flightworthy.manifest.load import parse
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import Artifact, ModelStore
from flightworthy.model.asked import LoadedModel
from flightworthy.model.runtime import Recipe, flavour
from flightworthy.model.train import Table, train

MANIFEST = """
flightworthy: 1
pilot: small
objective: {kpi: k, currency: EUR, value: [{when: cost > 0, worth: 1}], target: {improvement: 1, within: 1d}}
events:
  id: id
  time: at
  entities: {who: who}
  fields: {id: {type: text}, at: {type: time}, who: {type: text}, x: {type: number}}
outcomes: {label: cost, type: number, delay: 1s}
model: {flavour: "python:model.py:Mine", objective: regression, EXTRA}
policy: {actions: [a, b], rules: [{then: a}], baseline: [{then: a}]}
"""
CODE = """
import numpy as np

class Mine:
    def fit(self, x, y, recipe):
        return {"shift": 0.5, "inputs": list(recipe.inputs)}

    def open(self, parts):
        return Asked(parts["shift"])

class Asked:
    def __init__(self, shift):
        self.shift = shift

    def predict(self, x):
        return ANSWER
"""


def pilot_in(folder: Path, extra: str = "interval: 80%", answer: str = "x[:, 0].copy()") -> Pilot:
    (folder / "model.py").write_text(CODE.replace("ANSWER", answer))
    return parse(MANIFEST.replace("EXTRA", extra), "pilot.yaml", folder)


def table(seed: int, n: int) -> Table:
    """A label that spreads more the larger x is."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, (n, 1))
    return Table(x, x[:, 0] + rng.normal(size=n) * (0.2 + x[:, 0]), np.arange(n) * 10_000_000, np.arange(n) % 50, np.arange(n))


@pytest.mark.parametrize("split", ["train: {split: {by: time, share: 50%}}", "train: {split: {by: who, share: 20%}}"])
def test_intervals_cover_what_they_say_everywhere(tmp_path: Path, split: str) -> None:
    """Near the nominal 80% over all and in the quietest and the widest part."""
    pilot = pilot_in(tmp_path, f"interval: 80%, {split}")
    model = LoadedModel(train(pilot, table(1, 8000)).artifact, tmp_path)
    fresh = table(2, 20_000)
    out = model.predict(fresh.x)
    assert out.shape == (20_000, 3)
    inside = (out[:, 1] <= fresh.y) & (fresh.y <= out[:, 2])
    assert abs(inside.mean() - 0.8) < 0.02
    for part in (fresh.x[:, 0] < 2, fresh.x[:, 0] > 8):
        assert abs(inside[part].mean() - 0.8) < 0.05
    assert (out[:, 1] <= out[:, 2]).all()


@pytest.mark.parametrize("answer", ["np.full(len(x), 3.0)", "np.floor(x[:, 0] / 5) * 5", "np.maximum(x[:, 0], 3)"])
def test_intervals_of_a_model_with_few_answers(tmp_path: Path, answer: str) -> None:
    """Shallow trees give many equal predictions; a band without any must not stop the training."""
    trained = train(pilot_in(tmp_path, answer=answer), table(3, 2000))
    out = LoadedModel(trained.artifact, tmp_path).predict(table(4, 100).x)
    assert np.isfinite(out).all()
    assert (out[:, 1] <= out[:, 2]).all()


def test_the_same_table_gives_the_same_artefact_and_its_references(tmp_path: Path) -> None:
    pilot, rows = pilot_in(tmp_path), table(5, 400)
    one = train(pilot, rows)
    assert one.artifact.digest == train(pilot, rows).artifact.digest
    assert one.artifact.content["references"] == [float(np.median(rows.x))]
    assert one.artifact.content["trained"] == {"rows": 400, "from": "1970-01-01T00:00:00Z", "until": "1970-01-01T01:06:30Z"}
    assert one.held_back == 80


@pytest.mark.parametrize("extra", ["train: {split: {by: time, share: 0%}}", "train: {split: {by: time, share: 100%}}"])
def test_nothing_to_learn_from_or_to_judge_by_is_a_model_error(tmp_path: Path, extra: str) -> None:
    with pytest.raises(ModelError):
        train(pilot_in(tmp_path, extra), table(6, 400))


def test_too_little_or_unusable_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="too little labelled history"):
        train(pilot_in(tmp_path), table(7, 25))
    with pytest.raises(ModelError, match="too little labelled history"):
        train(pilot_in(tmp_path), Table(np.empty((0, 1)), *(np.empty(0) for _ in range(4))))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="not finite"):
        train(pilot_in(tmp_path, answer="x[:, 0] * np.nan"), table(7, 400))


def test_code_that_changed_since_training_is_refused(tmp_path: Path) -> None:
    artifact = train(pilot_in(tmp_path), table(8, 400)).artifact
    assert LoadedModel(artifact, tmp_path).predict(np.array([[2.0]]))[0, 0] == 2.0
    pilot_in(tmp_path, answer="x[:, 0] + 1")
    with pytest.raises(ModelError, match="model code changed"):
        LoadedModel(artifact, tmp_path)


@pytest.mark.parametrize("name", [
    "python:../outside.py:Mine", "python:link.py:Mine", "python:missing.py:Mine", "python:model.py", "python:", "xgboost", "",
    "python:model.py:Missing", "python:broken.py:Mine", "python:model.py:",
])
def test_a_flavour_lies_in_the_pilots_folder_or_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "pilot"
    folder.mkdir()
    for path in (tmp_path / "outside.py", folder / "model.py"):
        path.write_text(CODE.replace("ANSWER", "x[:, 0]"))
    (folder / "broken.py").write_text("class Mine(:\n")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(ModelError):
        flavour(name, folder)
    assert flavour("python:model.py:Mine", folder)[0].fit(np.ones((1, 1)), np.ones(1), Recipe("regression", ("x",), (), 1, 0)) == {
        "shift": 0.5, "inputs": ["x"]}


def artifact(version: int) -> Artifact:
    content: dict[str, Any] = {"format": 1, "flavour": "lightgbm", "bands": [{"from": float("-1e308"), "low": -0.1, "high": 1e-320}],
                               "trained": {"rows": version, "from": "a", "until": "b"}}
    return Artifact(content)


def test_a_store_keeps_versions_and_their_history(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    with pytest.raises(ModelError, match="no model has been trained"):
        store.champion()
    assert (store.history(), store.previous()) == ([], None)
    one, two, three = map(artifact, (1, 2, 3))
    for made in (one, one, two):
        store.save(made)
    path = store.save(three, champion=False)
    assert path.name == f"{three.digest}.json"
    assert store.history() == [one.digest, two.digest]
    assert (store.champion(), store.previous()) == (two, one)
    assert store.load(three.digest) == three
    assert store.load(three.digest).digest == three.digest
    store.save(one)
    assert store.history() == [one.digest, two.digest, one.digest]
    assert sorted(p.suffix for p in (tmp_path / "models").iterdir()) == [".json"] * 4
    assert one.describe() == f"lightgbm {one.digest[:12]}, 1 rows until b"


def test_a_file_that_was_altered_or_has_another_format_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    path = store.save(artifact(1))
    path.write_bytes(path.read_bytes().replace(b'"rows":1', b'"rows":2'))
    with pytest.raises(ModelError, match="a model file was altered"):
        store.champion()
    path.unlink()
    with pytest.raises(ModelError, match="no such model version"):
        store.champion()
    later = Artifact(artifact(1).content | {"format": 2})
    store.save(later)
    with pytest.raises(ModelError, match="another format"):
        store.champion()
    (tmp_path / "champions.json").write_text(json.dumps(["0" * 64]))
    with pytest.raises(ModelError, match="no such model version"):
        store.champion()
