"""What the benchmarks share: arguments, tables, and where figures go."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flightworthy.decision.learn import History, Labelled, read_history
from flightworthy.decision.line import Line
from flightworthy.ground import figures
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation import learn

OUT = Path("out/bench")
PILOTS = Path(__file__).parent.parent / "src" / "flightworthy" / "pilots"


def write(name: str, found: Mapping[str, Any]) -> None:
    """Figures as JSON in ``out/bench`` and as a table on the terminal."""
    figures.write(OUT / f"{name}.json", found)
    for key, value in flat(found):
        print(f"{key:<44} {value}")
    print(f"→ {OUT / f'{name}.json'}")


def flat(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested figures, one line each."""
    for key, value in found.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, f"{value:,.4f}" if isinstance(value, float) else str(value)


def on_disk() -> Path:
    """A folder for what a bench writes: on the disk the project is on, not one in memory."""
    OUT.mkdir(parents=True, exist_ok=True)
    return OUT.resolve()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what takes time."""
    started = time.perf_counter()
    print(f"{title} …", end=" ", flush=True, file=sys.stderr)
    yield
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


def history(manifest: Path, data: str) -> tuple[Pilot, Line, History, list[Labelled]]:
    """A file replayed through a manifest's contract and features."""
    pilot = load(manifest)
    line = Line(pilot, {})
    past = list(learn.labelled(pilot, rows(learn.open_source(data, pilot).chunks())))
    return pilot, line, read_history(line, past), past
