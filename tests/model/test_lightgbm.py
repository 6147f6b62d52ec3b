"""The booster behind the C API gives the bits LightGBM's own package gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import pytest

from flightworthy.ground.canonical import fingerprint
from flightworthy.ground.errors import ModelError
from flightworthy.model.lightgbm import Booster, LightGBM
from flightworthy.model.runtime import Recipe


def data(seed: int, n: int = 1500) -> tuple[Any, Any]:
    """Five inputs: NaN in the first two, the last one categorical (with NaN and an unseen word)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    x[:, 4] = rng.integers(0, 6, n)
    y = x[:, 0] + (x[:, 4] == 3) * 2 - x[:, 1] * x[:, 2] + rng.normal(size=n)
    x[rng.random((n, 5)) < 0.15] = np.nan
    return x, y


def recipe(objective: str, **params: Any) -> Recipe:
    return Recipe(objective, ("a", "b.n_1d", "c", "d", "e"), (4,), 30, 11, {"num_leaves": 15, "min_data_in_leaf": 20} | params)


@pytest.mark.parametrize("objective", ["binary", "regression"])
def test_predictions_equal_the_package_bit_for_bit(objective: str) -> None:
    x, y = data(1)
    parts = LightGBM().fit(x, (y > 0).astype(float) if objective == "binary" else y, recipe(objective))
    asked, _ = data(2, 700)
    asked[:5, 4] = [99, -1, np.nan, 5.9, 1e9]
    asked[5:8, 0] = [np.inf, -np.inf, 1e-40]
    expected = lightgbm.Booster(model_str=parts["booster"]).predict(asked)
    ours = LightGBM().open(parts)
    assert ours.predict(asked).view(np.uint64).tolist() == np.asarray(expected).view(np.uint64).tolist()
    assert [float(ours.predict(row[None])[0]) for row in asked[:50]] == ours.predict(asked)[:50].tolist()
    assert ours.predict(np.asfortranarray(asked)).tolist() == ours.predict(asked).tolist()
    assert ours.predict(asked[:0]).shape == (0,)
    assert set(parts["gain"]) == {"a", "b.n_1d", "c", "d", "e"}


def test_training_again_or_on_other_threads_gives_the_same_parts() -> None:
    x, y = data(3)
    base = fingerprint(LightGBM().fit(x, y, recipe("regression")))
    assert fingerprint(LightGBM().fit(x, y, recipe("regression"))) == base
    assert {fingerprint(LightGBM().fit(x, y, recipe("regression", num_threads=n))) for n in (1, 2)} == {base}
    assert fingerprint(LightGBM().fit(x, y, recipe("regression", num_leaves=16))) != base


def test_threads_of_prediction_change_nothing_and_may_share_a_booster() -> None:
    x, y = data(4)
    text = LightGBM().fit(x, y, recipe("regression"))["booster"]
    one, two = Booster(text), Booster(text, threads=2)
    expected = one.predict(x).tolist()
    assert two.predict(x).tolist() == expected
    with ThreadPoolExecutor(4) as pool:
        assert all(found.tolist() == expected for found in pool.map(one.predict, [x] * 8))


def test_a_wrong_width_or_a_broken_text_is_a_model_error() -> None:
    x, y = data(5, 300)
    booster = LightGBM().open(LightGBM().fit(x, y, recipe("regression")))
    for wrong in (x[:, :4], x[0]):
        with pytest.raises(ModelError, match="another number of inputs"):
            booster.predict(wrong)
    with pytest.raises(ModelError, match="LightGBM"):
        Booster("nonsense")
