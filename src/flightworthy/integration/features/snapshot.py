"""Feature state on disk: plain arrays and JSON in a zip, written whole or not at all, restored to the same bits."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flightworthy.ground.errors import DataError
from flightworthy.ground.files import whole
from flightworthy.integration.features.state import FeatureState, Interner, Ints, Packing

FORMAT = 1


@dataclass(frozen=True)
class Snapshot:
    """Where a saved state stands: the last ledger entry in it, the newest event time seen, and that entry's leaf: whoever has
    another entry there must not use it. Empty: it does not say."""

    seq: int
    watermark: int
    leaf: bytes = b""


@dataclass(frozen=True)
class Captured:
    """A state that no longer changes. ``words``: of each interner, by name; ``stilled``: groups by name, copied when they are
    asked for; ``forgot``: how often something was forgotten, after which nothing is where it was."""

    snapshot: Snapshot
    recipe: str
    words: dict[str, list[Any]]
    stilled: dict[str, Packing]
    forgot: int = 0

    @cached_property
    def groups(self) -> dict[str, tuple[Ints, Ints]]:
        """Headers (entities, w) and remembered events (n, e) of each, by name: for whoever writes them, beside the decisions."""
        return {name: pack() for name, pack in self.stilled.items()}

    @classmethod
    def of(cls, state: FeatureState, snapshot: Snapshot, recipe_digest: str) -> Captured:
        """As it is now."""
        return cls(snapshot, recipe_digest, {name: interner.words() for name, interner in state.interners.items()},
                   {group.plan.name: group.stilled() for group in state.groups}, state.forgot)

    def of_leaf(self, leaf: bytes) -> Captured:
        """The same, where the leaf of its last entry is known."""
        return replace(self, snapshot=replace(self.snapshot, leaf=leaf))

    def arrays(self) -> dict[str, Any]:
        """As they lie in a file."""
        arrays: dict[str, Any] = {"meta": as_array(self.meta() | {"words": self.words})}
        for name, (headers, entries) in self.groups.items():
            arrays[f"{name}.headers"], arrays[f"{name}.entries"] = headers, entries
        return arrays

    def meta(self) -> dict[str, Any]:
        """What it is of, without its words."""
        at = self.snapshot
        return {"format": FORMAT, "recipe": self.recipe, "seq": at.seq, "watermark": at.watermark, "leaf": at.leaf.hex()}


@dataclass
class Saved:
    """What was read back."""

    meta: dict[str, Any]
    words: dict[str, list[Any]] = field(default_factory=dict)
    groups: dict[str, tuple[Ints, Ints]] = field(default_factory=dict)

    def fill(self, state: FeatureState) -> Snapshot:
        """Make a fresh state what it was. Raises `KeyError`, `ValueError` where that does not fit."""
        for group in state.groups:
            group.restore(*self.groups[group.plan.name])
        state.interners = {name: Interner([tuple(w) if isinstance(w, list) else w for w in words])
                           for name, words in self.words.items()}
        return Snapshot(self.meta["seq"], self.meta["watermark"], bytes.fromhex(self.meta.get("leaf", "")))


class Snapshots(Protocol):
    """Where the snapshots of a state are kept, the newest of them."""

    where: str

    def write(self, captured: Captured) -> None:
        """Keep one, durable; a reader sees the one before or this one. Raises `OSError`, `AdapterError`."""
        ...

    def restore(self, state: FeatureState, recipe_digest: str) -> Snapshot | None:
        """Fill a fresh state; None when there is no snapshot or it was made by other features (it can be rebuilt). Raises
        `DataError` when it is damaged."""
        ...


class SnapshotFile:
    """One file on this machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)

    def write(self, captured: Captured) -> None:
        write(self.path, captured.arrays())

    def restore(self, state: FeatureState, recipe_digest: str) -> Snapshot | None:
        return restore(self.path, state, recipe_digest)


def as_array(value: Any) -> Any:
    """JSON as bytes in an array."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def save(path: Path, state: FeatureState, snapshot: Snapshot, recipe_digest: str) -> None:
    """Write a snapshot durably; a reader sees the old one or the new one, never half of one."""
    write(path, Captured.of(state, snapshot, recipe_digest).arrays())


def write(path: Path, arrays: Mapping[str, Any]) -> None:
    """Make what was captured durable."""
    for old in path.parent.glob(f"{path.stem}.*.part"):  # of a process that was killed while it wrote
        old.unlink(missing_ok=True)
    with whole(path, path.with_suffix(f".{os.getpid()}.part")) as file:
        np.savez(file, allow_pickle=False, **arrays)


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
            groups = {group.plan.name: (saved[f"{group.plan.name}.headers"], saved[f"{group.plan.name}.entries"])
                      for group in state.groups}
            return Saved(meta, meta["words"], groups).fill(state)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"the feature snapshot is damaged ({error})", where=str(path),
                        next_step="delete it: the state is rebuilt from the ledger") from error
