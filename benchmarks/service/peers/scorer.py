"""The model as the peers ask it: LightGBM's own package, one thread. Runs in a peer's environment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np


class Scorer:
    """The booster of ``model.txt`` and the order of its inputs."""

    def __init__(self, folder: str) -> None:
        self.booster = lightgbm.Booster(model_file=str(Path(folder) / "model.txt"))
        self.inputs: list[str] = json.loads((Path(folder) / "inputs.json").read_text())

    def rows(self, x: Any) -> Any:
        """(n, inputs) → (n,) scores."""
        return self.booster.predict(x, num_threads=1, validate_features=False)

    def events(self, events: list[dict[str, Any]]) -> list[float]:
        """Scores of events as they came."""
        inputs = self.inputs
        x = np.array([[event[name] for name in inputs] for event in events], np.float64)
        scores: list[float] = self.rows(x).tolist()
        return scores


def arguments() -> tuple[str, int]:
    """The folder with the model, and the port."""
    args = argparse.ArgumentParser()
    args.add_argument("--folder", required=True)
    args.add_argument("--port", type=int, required=True)
    given = args.parse_args()
    return given.folder, given.port
