"""What benches and proofs of streams share: a trained model, and a manifest with its adapters."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import traffic
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.operation import learn

PILOT = Path(__file__).parent / "pilot.yaml"


def trained(var: Path, events: int = 150_000) -> None:
    """Train the pilot on invented payments."""
    pilot = load(PILOT)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "past.parquet"
        traffic.write(path, events, seed=1)
        learn.learn(pilot, learn.labelled(pilot, rows(learn.open_source(str(path), pilot).chunks())), var)


def pilot_with(folder: Path, ledger: str = "", name: str = "pilot") -> Path:
    """The same manifest with another ledger, in a folder of its own; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(PILOT.read_text() + (f"adapters: {{ledger: '{ledger}'}}\n" if ledger else ""))
    return path
