"""Our walk through the trees gives LightGBM's bits, or leaves the model to it."""

from __future__ import annotations

import re
from typing import Any

import lightgbm
import numpy as np
import pytest

from flightworthy.ground.errors import ModelError
from flightworthy.model.lightgbm import Booster, LightGBM, _opened
from flightworthy.model.runtime import Recipe
from flightworthy.model.trees import Forest, damage, forest


def parts(objective: str, missing: float = 0.2, categorical: tuple[int, ...] = (), rounds: int = 37, **params: Any) -> Any:
    rng = np.random.default_rng(5)
    x = np.round(rng.normal(size=(2000, 6)), 2)
    y = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=2000)
    x[:, 5] = rng.integers(0, 5, 2000)
    x[rng.random(x.shape) < missing] = np.nan
    recipe = Recipe(objective, tuple("abcdef"), categorical, rounds, 3, {"num_leaves": 31, "min_data_in_leaf": 5} | params)
    return LightGBM().fit(x, (y > 0).astype(float) if objective == "binary" else y, recipe)


def asked(trees: Forest, n: int) -> Any:
    """Rows at the limits of the tests and beside them, with NaN, infinities and zeros of both signs."""
    rng = np.random.default_rng(9)
    tests = trees.tests[np.isfinite(trees.tests)]
    x = rng.choice(tests if len(tests) else np.zeros(1), (n, trees.width))
    x = np.where(rng.random(x.shape) < 0.3, np.nextafter(x, np.inf), x)
    odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e300], x.shape)
    return np.where(rng.random(x.shape) < 0.3, odd, x)


@pytest.mark.parametrize("objective", ["binary", "regression"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(("rounds", "params"), [
    (1, {}), (8, {}), (37, {}), (37, {"sigmoid": 2.5}), (200, {"num_leaves": 63}), (5, {"min_data_in_leaf": 5000}),
    (20, {"boosting": "dart"}), (20, {"max_depth": 3})])
def test_same_bits_as_lightgbm(objective: str, missing: float, rounds: int, params: dict[str, Any]) -> None:
    text = parts(objective, missing, rounds=rounds, **params)["booster"]
    trees, booster = forest(text), Booster(text)
    assert trees is not None and trees.agrees(booster)
    for n in (0, 1, 2, 7, 8, 9, 16, 1003):
        x = asked(trees, n)
        assert trees.predict(x).tobytes() == booster.predict(x).tobytes(), n
        if n == 1003:
            alone = np.concatenate([trees.predict(row[None]) for row in x[:100]])
            assert alone.tobytes() == trees.predict(x)[:100].tobytes()  # a row's answer never depends on the others
            assert trees.predict(x).tobytes() == np.asarray(lightgbm.Booster(model_str=text).predict(x)).tobytes()


@pytest.mark.parametrize(("objective", "params"), [
    ("binary", {"categorical": (5,), "max_cat_to_onehot": 1, "min_data_per_group": 5, "cat_smooth": 0.1}),
    ("regression", {"linear_tree": True}), ("binary", {"zero_as_missing": True}),
    ("binary", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5})])
def test_what_it_does_not_know_is_left_to_lightgbm(objective: str, params: dict[str, Any]) -> None:
    made = parts(objective, **params)
    assert forest(made["booster"]) is None
    assert isinstance(LightGBM().open(made), Booster)


@pytest.mark.parametrize(("name", "change"), [
    ("split_feature", lambda words: ["6", *words[1:]]), ("split_feature", lambda words: ["-1", *words[1:]]),
    ("left_child", lambda words: ["0", *words[1:]]), ("right_child", lambda words: ["-99", *words[1:]]),
    ("leaf_value", lambda words: words[1:]), ("objective", lambda _: ["poisson"]), ("num_tree_per_iteration", lambda _: ["3"])])
def test_a_text_that_cannot_be_is_not_walked(name: str, change: Any) -> None:
    text = parts("binary")["booster"]
    found = re.search(rf"^{name}=(.*)$", text, re.MULTILINE)
    assert found is not None and forest(text) is not None
    assert forest(text[: found.start(1)] + " ".join(change(found.group(1).split())) + text[found.end(1) :]) is None


def test_a_disagreement_is_seen_and_lightgbm_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = parts("binary")
    assert isinstance(LightGBM().open(made), Forest)
    _opened.cache_clear()
    monkeypatch.setattr(Forest, "predict", lambda self, x: Booster(made["booster"]).predict(x) * (1 + 2**-52))
    assert isinstance(LightGBM().open(made), Booster)
    _opened.cache_clear()


def test_whoever_opens_the_same_model_shares_its_trees() -> None:
    made = parts("binary")
    assert LightGBM().open(made) is LightGBM().open({"booster": "".join(list(made["booster"]))})


def test_a_damaged_text_is_refused_before_the_library_sees_it() -> None:
    """Each of these ends the process when LightGBM's library reads it, or reads beyond its memory."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 4))
    x[:, 3] = rng.integers(5, size=400)
    y = (x[:, 0] + 3 * (x[:, 3] == 2) + rng.normal(size=400) > 0).astype(float)
    params, grouped = {"num_leaves": 8, "min_data_in_leaf": 5}, {"max_cat_to_onehot": 2, "min_data_per_group": 5, "cat_smooth": 1}
    plain = LightGBM().fit(x, y, Recipe("binary", ("a", "b", "c", "d"), (), 5, 1, params))["booster"]
    sets = LightGBM().fit(x, y, Recipe("binary", ("a", "b", "c", "d"), (3,), 5, 1, {**params, **grouped}))["booster"]
    assert damage(plain) == damage(sets) == "" and "cat_threshold" in sets
    for good, old, new in ((plain, "leaf_value=", "leaf_value=1 "), (plain, "leaf_value=", "leaf_value=x"),
                           (plain, "split_feature=", "split_feature=99 "), (plain, "left_child=", "left_child=77 "),
                           (plain, "num_leaves=8", "num_leaves=800"), (plain, "threshold=", "threshold=1 "),
                           (plain, "decision_type=", "decision_tipe="), (plain, "right_child=", "right_child=0 "),
                           (plain, "max_feature_idx=3", "max_feature_idx=0"), (plain, "end of trees", "end of tree"),
                           (sets, "cat_boundaries=0 ", "cat_boundaries=0 99 "), (sets, "cat_threshold=", "cat_threshold=1 2 "),
                           (sets, "num_cat=1", "num_cat=9"), (plain, plain[len(plain) // 2 :], ""), (plain, plain, "tree\n")):
        assert old in good
        with pytest.raises(ModelError, match="damaged"):
            LightGBM().open({"booster": good.replace(old, new, 1)})
    text = re.sub(r"leaf_value=\S+", "leaf_value=0.123456789012345678901234567890", plain, count=1)  # longer than its size says, and sound
    assert LightGBM().open({"booster": text}).predict(x).shape == (400,)
