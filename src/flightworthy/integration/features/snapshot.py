"""Feature state on disk: plain arrays and JSON in a zip, written whole or not at all, restored to the same bits."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.ground.errors import DataError
from flightworthy.integration.features.state import FeatureState, Interner

FORMAT = 1


@dataclass(frozen=True)
class Snapshot:
    """Where a saved state stands: the last ledger entry in it, and the newest event time seen."""

    seq: int
    watermark: int


def save(path: Path, state: FeatureState, snapshot: Snapshot, recipe_digest: str) -> None:
    """Write a snapshot durably; a reader sees the old one or the new one, never half of one."""
    write(path, captured(state, snapshot, recipe_digest))


def captured(state: FeatureState, snapshot: Snapshot, recipe_digest: str) -> dict[str, Any]:
    """A state as arrays of its own, which no longer change with it."""
    meta: dict[str, Any] = {
        "format": FORMAT, "recipe": recipe_digest, "seq": snapshot.seq, "watermark": snapshot.watermark,
        "words": {name: interner.words() for name, interner in state.interners.items()}}
    arrays: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    for group in state.groups:
        arrays[f"{group.plan.name}.headers"], arrays[f"{group.plan.name}.entries"] = group.packed()
    return arrays


def write(path: Path, arrays: Mapping[str, Any]) -> None:
    """Make what was captured durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{path.stem}.*.part"):  # of a process that was killed while it wrote
        old.unlink(missing_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def restore(path: Path, state: FeatureState, recipe_digest: str) -> Snapshot | None:
    """Fill a fresh state; None when there is no snapshot or it was made by other features (it can be rebuilt).

    Raises `DataError` when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            meta = json.loads(saved["meta"].tobytes())
            if meta["format"] != FORMAT or meta["recipe"] != recipe_digest:
                return None
            for group in state.groups:
                group.restore(saved[f"{group.plan.name}.headers"], saved[f"{group.plan.name}.entries"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"the feature snapshot is damaged ({error})", where=str(path),
                        next_step="delete it: the state is rebuilt from the ledger") from error
    state.interners = {name: Interner([tuple(w) if isinstance(w, list) else w for w in words])
                       for name, words in meta["words"].items()}
    return Snapshot(meta["seq"], meta["watermark"])
