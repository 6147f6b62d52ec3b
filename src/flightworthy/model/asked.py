"""A stored model, ready to give every output its manifest names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flightworthy.ground import registry
from flightworthy.model.artifact import Artifact
from flightworthy.model.runtime import INPROCESS, Floats, Predictor


class LoadedModel:
    """Predicts all outputs: the flavour's answer, then its interval where the artefact has bands."""

    def __init__(self, artifact: Artifact, folder: Path, runtime: str = INPROCESS) -> None:
        content = artifact.content
        self.digest = artifact.digest
        self.recipe_digest = str(content["recipe_digest"])
        self.inputs = tuple(content["inputs"])
        self.references = np.array([np.nan if v is None else v for v in content["references"]], np.float64)
        self._predictor: Predictor = registry.find("runtimes", runtime)(runtime, content=content, folder=folder)
        bands = content["bands"]
        self._edges = np.array([b["from"] for b in bands[1:]], np.float64)
        self._low = np.array([b["low"] for b in bands], np.float64)
        self._high = np.array([b["high"] for b in bands], np.float64)

    def predict(self, x: Floats) -> Floats:
        """(n, inputs) → (n, outputs)."""
        guess = self._predictor.predict(x)
        if not len(self._low):
            return guess.reshape(-1, 1)
        band = np.searchsorted(self._edges, guess, side="right")
        return np.column_stack([guess, guess + self._low[band], guess + self._high[band]])
