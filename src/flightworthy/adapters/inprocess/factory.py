"""Opens ``inprocess:``: models run in the process that asks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flightworthy.model.runtime import Predictor, opened


def open_runtime(url: str, content: Mapping[str, Any], folder: Path) -> Predictor:
    """The predictor of an artefact's content. Raises `ModelError`."""
    return opened(content, folder)
