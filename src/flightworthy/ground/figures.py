"""Figures: every bench and proof writes one JSON file that says what was measured, how and where."""

from __future__ import annotations

import json
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
    path.write_text(json.dumps({**figures, **made}, indent=2, ensure_ascii=False, default=str) + "\n")
