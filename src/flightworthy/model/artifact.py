"""A model version: one immutable file of canonical JSON, named by the digest over model, features and contract."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightworthy.ground.canonical import digest, encode
from flightworthy.ground.errors import ModelError

FORMAT = 1


@dataclass(frozen=True)
class Artifact:
    """Everything needed to ask the model again in ten years. ``content`` is plain data; see `Artifact.describe`.

    Keys of ``content``: format, pilot, flavour, code (digest of a pilot's own flavour), recipe (contract, outcomes and
    features), recipe_digest, objective, inputs, outputs, parts (the flavour's), references (typical value of each
    input, for reasons), bands (offsets of the interval by prediction), trained (rows, span).
    """

    content: dict[str, Any]

    @property
    def digest(self) -> str:
        return digest(encode(self.content)).hex()

    def describe(self) -> str:
        """One line for people."""
        trained = self.content["trained"]
        return f"{self.content['flavour']} {self.digest[:12]}, {trained['rows']} rows until {trained['until']}"


class ModelStore:
    """A folder of artefacts and the history of champions. Writes are atomic; nothing is ever overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, artifact: Artifact, champion: bool = True) -> Path:
        """Store an artefact and, unless told otherwise, make it champion; the last one becomes `previous`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{artifact.digest}.json"
        if not path.exists():
            _write(path, encode(artifact.content))
        if champion and self.history()[-1:] != [artifact.digest]:
            _write(self.folder / "champions.json", json.dumps([*self.history(), artifact.digest]).encode())
        return path

    def history(self) -> list[str]:
        """Digests of champions, oldest first."""
        path = self.folder / "champions.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def stored(self) -> list[str]:
        """Digests of all models that are there."""
        return sorted(file.stem for file in self.folder.glob("*.json") if len(file.stem) == 64)

    def find(self, beginning: str) -> str:
        """The digest that begins so. Raises `ModelError` when none does, or several."""
        found = [name for name in self.stored() if name.startswith(beginning)]
        if len(found) != 1 or not beginning:
            raise ModelError("no such model" if not found else "several models begin so", where=str(self.folder), found=beginning,
                             expected=", ".join(name[:12] for name in found or self.history()))
        return found[0]

    def champion(self) -> Artifact:
        """Raises `ModelError` when nothing was trained yet."""
        history = self.history()
        if not history:
            raise ModelError("no model has been trained", where=str(self.folder), next_step="run: flightworthy train")
        return self.load(history[-1])

    def previous(self) -> Artifact | None:
        """The champion before this one."""
        history = self.history()
        return self.load(history[-2]) if len(history) > 1 else None

    def load(self, name: str) -> Artifact:
        """Raises `ModelError` when the file is missing or its content does not match its name."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            raise ModelError("no such model version", where=str(path), found=name)
        raw = path.read_bytes()
        if digest(raw).hex() != name:
            raise ModelError("a model file was altered", where=str(path), found=digest(raw).hex(), expected=name,
                             next_step="restore it from a backup or train again")
        content = json.loads(raw)
        if content.get("format") != FORMAT:
            raise ModelError("this artefact has another format", where=str(path), found=content.get("format"),
                             expected=f"format {FORMAT}")
        return Artifact(content)


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")  # shards may write the same file at the same time
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
