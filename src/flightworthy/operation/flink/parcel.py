"""A pilot with its models as one parcel, for processes that do not share our disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from flightworthy.decision.rooms import Rooms, load_models
from flightworthy.ground.errors import DataError
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import ModelStore
from flightworthy.model.asked import LoadedModel


class Parcel(msgspec.Struct):
    """``files``: names and contents, the manifest's first; ``models``: names and contents in its folder of models."""

    files: dict[str, bytes]
    models: dict[str, bytes]


def pack(path: Path, base: Path) -> bytes:
    """The manifest at ``path`` with the champion, and the one before. Raises what loading them does, and `DataError` for a pilot
    whose people are protected: their keys do not travel."""
    file = path / "pilot.yaml" if path.is_dir() else path
    pilot = load(file)
    if pilot.manifest.privacy is not None:
        raise DataError("a pilot that protects people keeps their keys in its ledger, which Flink has none of", where="privacy",
                        found="privacy", expected="a pilot without it", next_step="run: flightworthy stream, without --engine")
    folder = Rooms.of(pilot, base).models
    load_models(pilot, folder)  # better here than in a cluster
    names = ["champions.json", *(f"{digest}.json" for digest in ModelStore(folder).history()[-2:])]
    return msgspec.msgpack.encode(Parcel({"pilot.yaml": file.read_bytes()},
                                         {name: (folder / name).read_bytes() for name in names}))


def unpack(parcel: bytes) -> tuple[Pilot, dict[str, LoadedModel]]:
    """The pilot and its models."""
    told = msgspec.msgpack.decode(parcel, type=Parcel)
    with tempfile.TemporaryDirectory(prefix="flightworthy-") as place:
        folder = Path(place)
        (folder / "models").mkdir()
        for name, content in told.files.items():
            (folder / Path(name).name).write_bytes(content)
        for name, content in told.models.items():
            (folder / "models" / Path(name).name).write_bytes(content)
        pilot = load(folder)
        return pilot, load_models(pilot, folder / "models")
