"""LightGBM: trained through its package, asked through its C library (which loads in milliseconds, without scipy)."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.ground.errors import ModelError
from flightworthy.model.runtime import Floats, Parts, Predictor, Recipe, as_inputs

_log = logging.getLogger("flightworthy.model")
_OBJECTIVES = {"binary": "binary", "regression": "regression"}
# Numbers from which on a second thread pays. Below, threads wait for each other (spinning) longer than they work; where
# the cores are shared, a hundred times longer.
_WORTH_THREADS = 1_000_000
_KEPT = 4  # models: champion, previous and challenger are the same in all partitions and shards of a process
_FLOAT64, _ROW_MAJOR, _NORMAL = 1, 1, 0
# The parameter block of a model file repeats how it was trained (threads included) and is not read back.
_SIZES = re.compile(r"\ntree_sizes=[^\n]*\n")
_PARAMETERS = re.compile(r"\nparameters:.*?end of parameters\n", re.DOTALL)


class LightGBM:
    """The built-in flavour: one booster."""

    def fit(self, x: Floats, y: Floats, recipe: Recipe) -> Parts:
        """Train deterministically: the same numbers and recipe give the same trees on any number of threads."""
        import lightgbm

        threads = {"num_threads": 1} if x.size < _WORTH_THREADS else {}
        params = {"objective": _OBJECTIVES[recipe.objective], "verbose": -1, **threads, **recipe.params, "seed": recipe.seed,
                  "deterministic": True, "force_row_wise": True}
        data = lightgbm.Dataset(x, y, feature_name=[_plain(n) for n in recipe.inputs],
                                categorical_feature=list(recipe.categorical), free_raw_data=True)
        _library().LGBM_SetMaxThreads(-1)
        try:
            booster = lightgbm.train(params, data, num_boost_round=recipe.rounds)
        finally:
            _library().LGBM_SetMaxThreads(1)
        return {"booster": _PARAMETERS.sub("\n", booster.model_to_string()),
                "gain": {name: round(float(gain), 6) for name, gain in
                         zip(recipe.inputs, booster.feature_importance("gain"), strict=True)}}

    def open(self, parts: Parts) -> Predictor:
        """Our own walk through the trees where it knows all of them and gives LightGBM's bits, else LightGBM itself."""
        return _opened(parts["booster"])


class Booster:
    """A trained booster behind the C API."""

    def __init__(self, text: str, threads: int = 1) -> None:
        self._library = _library()
        self._handle = ctypes.c_void_p()
        rounds = ctypes.c_int()
        # With the sizes of its trees the library reads them in threads of its own, where an error ends the process.
        plain = _SIZES.sub("\n", text).encode()
        self._call("LGBM_BoosterLoadModelFromString", plain, ctypes.byref(rounds), ctypes.byref(self._handle))
        width = ctypes.c_int()
        self._call("LGBM_BoosterGetNumFeature", self._handle, ctypes.byref(width))
        self.width = width.value
        self.threads = threads

    def predict(self, x: Floats) -> Floats:
        """(n, inputs) → (n,). The C library releases the interpreter while it works."""
        data = as_inputs(x, self.width)
        out = np.empty(len(data))
        if len(data) == 0:
            return out
        length = ctypes.c_int64()
        self._call("LGBM_BoosterPredictForMat", self._handle, data.ctypes.data_as(ctypes.c_void_p),
                   ctypes.c_int(_FLOAT64), ctypes.c_int32(data.shape[0]), ctypes.c_int32(data.shape[1]),
                   ctypes.c_int(_ROW_MAJOR), ctypes.c_int(_NORMAL), ctypes.c_int(0), ctypes.c_int(-1),
                   f"num_threads={self.threads}".encode(), ctypes.byref(length),
                   out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)))
        return out

    def _call(self, name: str, *args: Any) -> None:
        if getattr(self._library, name)(*args) != 0:
            raise ModelError(f"LightGBM: {self._library.LGBM_GetLastError().decode()}", where=name)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.LGBM_BoosterFree(self._handle)


@lru_cache(_KEPT)
def _opened(text: str) -> Predictor:
    from flightworthy.model.trees import damage, forest

    if wrong := damage(text):
        raise ModelError("the model's text is damaged", where="model", found=wrong, next_step="train again, or restore it")
    booster, trees = Booster(text), forest(text)
    if trees is None:
        return booster
    if not trees.agrees(booster):  # another version of LightGBM, or a mistake of ours: right, but slower
        _log.warning("LightGBM's library gives other numbers than our reading of its trees: it is asked instead, more slowly")
        return booster
    return trees


@cache
def _library() -> Any:
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise ModelError("'lightgbm' is not installed", next_step="run: pip install lightgbm")
    found = sorted(Path(spec.origin).parent.glob("**/lib_lightgbm.*"))
    if not found:
        raise ModelError("LightGBM's library is missing from its package", where=spec.origin)
    library = ctypes.CDLL(str(found[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    library.LGBM_SetMaxThreads(1)  # else idle threads of OpenMP spin after each call, for a core that others need
    return library


def _plain(name: str) -> str:
    return name.replace(".", "__")
