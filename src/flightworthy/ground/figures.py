"""Figures: every bench and proof writes one JSON file that says what was measured, how and where."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flightworthy.ground.clock import Clock, SystemClock, iso

_PACKAGES = ("flightworthy", "numpy", "numba", "lightgbm", "msgspec")


def write(path: Path, figures: Mapping[str, Any], clock: Clock | None = None) -> None:
    """Write figures with the command, versions, cores and date beside them; folders are made as needed."""
    made = {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "cores": os.cpu_count(),
        "date": iso((clock or SystemClock()).now() // 1_000_000 * 1_000_000),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite({**figures, **made}), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    path.write_text(text + "\n")


def _finite(value: Any) -> Any:
    """Numbers that are none, or have no end, as null: JSON has no word for them, and nothing is known where they stand."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
