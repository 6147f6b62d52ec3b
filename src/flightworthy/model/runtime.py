"""How a model is trained and asked: the protocol every flavour follows, the built-in one included.

A flavour turns numbers into *parts*, plain data that JSON can hold (never code, never pickle), and parts into a
predictor. A pilot's own flavour is a class in its folder: ``flavour: python:model.py:MyModel``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flightworthy.ground.canonical import digest
from flightworthy.ground.errors import ModelError

Floats = NDArray[np.float64]
Parts = dict[str, Any]
INPROCESS = "inprocess:"


@dataclass(frozen=True)
class Recipe:
    """What a flavour is told: inputs (columns of x) with the categorical ones among them, and the manifest's wishes."""

    objective: str
    inputs: tuple[str, ...]
    categorical: tuple[int, ...]
    rounds: int
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)


class Predictor(Protocol):
    """A model ready to answer."""

    def predict(self, x: Floats) -> Floats:
        """(n, inputs) with NaN for null → (n,) finite; a row's answer never depends on the other rows.

        Must be deterministic to the last bit, and may be called from several threads.
        """
        ...


class Flavour(Protocol):
    """A way to train models. Subclass nothing; two methods are enough."""

    def fit(self, x: Floats, y: Floats, recipe: Recipe) -> Parts:
        """(n, inputs), (n,) → parts; the same numbers and recipe must give the same parts."""
        ...

    def open(self, parts: Parts) -> Predictor:
        """Parts → predictor. Raises `ModelError` when they cannot be read."""
        ...


def as_inputs(x: Floats, width: int) -> Floats:
    """x (n, width), its numbers in one piece. Raises `ModelError` for another shape."""
    data = np.ascontiguousarray(x, np.float64)
    if data.ndim != 2 or data.shape[1] != width:
        raise ModelError("the model sees another number of inputs", found=data.shape, expected=f"(n, {width})")
    return data


def opened(content: Mapping[str, Any], folder: Path) -> Predictor:
    """The predictor of an artefact's content in this process. Raises `ModelError` when the code it was trained with is not
    the pilot's any more."""
    maker, code = flavour(content["flavour"], folder)
    if code != content["code"]:
        raise ModelError("the pilot's model code changed since this model was trained", where=content["flavour"],
                         found=code[:12], expected=content["code"][:12], next_step="train again")
    return maker.open(content["parts"])


def flavour(name: str, folder: Path) -> tuple[Flavour, str]:
    """The flavour of a manifest and the digest of its code ('' for built-in ones). Raises `ModelError`."""
    if name == "lightgbm":
        from flightworthy.model.lightgbm import LightGBM

        return LightGBM(), ""
    kind, _, rest = name.partition(":")
    file, _, class_name = rest.rpartition(":")
    path = folder / file
    if kind != "python" or not file or not path.is_file() or folder.resolve() not in path.resolve().parents:
        raise ModelError("no such model flavour", where="model.flavour", found=name,
                         expected="lightgbm, or python:FILE.py:CLASS with FILE in the pilot's folder")
    try:
        made: Flavour = getattr(_module(path), class_name)()
    except Exception as error:  # whatever a user's file raises while it loads
        raise ModelError(f"the pilot's flavour cannot be loaded: {type(error).__name__}: {error}", where=name) from error
    return made, digest(path.read_bytes()).hex()


def _module(path: Path) -> Any:
    name = f"flightworthy_pilot_{digest(str(path.resolve()).encode()).hex()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError("cannot load the model's code", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
