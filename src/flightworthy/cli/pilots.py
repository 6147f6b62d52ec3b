"""Commands about manifests."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from flightworthy.governance.ledger import Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.errors import DataError, LedgerError, ManifestError, nearest
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot

BUILT_IN = ("fraud", "turbofan")


class Part(NamedTuple):
    """A ledger, the keys of its people where they are protected, and the feature state of what expired."""

    ledger: Ledger
    vault: Vault | None
    base: Path


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def folder_of(name: str) -> Path:
    """Folder of a built-in pilot, or the folder given. Raises `DataError`."""
    if name in BUILT_IN:
        with as_file(files("flightworthy.pilots") / name) as folder:
            return folder
    path = Path(name)
    if not (path / "pilot.yaml").is_file():
        raise DataError("no such pilot", found=name, expected="a built-in pilot or a folder with pilot.yaml",
                        next_step=nearest(name, BUILT_IN))
    return path


def rooms(pilot: Pilot, var: Path | None) -> Path:
    """The folder for variable data."""
    return var if var is not None else pilot.folder / "var"


def places(pilot: Pilot, var: Path | None) -> list[Path]:
    """The folders that hold a ledger: the one for variable data, and those of the shards of its service; the first at least."""
    base = rooms(pilot, var)
    return [place for place in (base, *sorted(base.glob("shard-*-of-*"))) if _has_ledger(pilot, place)] or [base]


def _has_ledger(pilot: Pilot, place: Path) -> bool:
    from flightworthy.decision.rooms import Rooms

    try:
        Rooms.of(pilot, place).open_ledger(read_only=True).close()
    except LedgerError:  # if it is another error than that there is none, whoever opens it next hears of it
        return False
    return True


@contextmanager
def parts(pilot: Pilot, var: Path | None) -> Iterator[list[Part]]:
    """The ledgers in a folder, for reading: its own, and those of the shards of its service. Raises `LedgerError` without any."""
    from flightworthy.decision.rooms import Rooms

    with ExitStack() as stack:
        opened = []
        for place in places(pilot, var):
            where = Rooms.of(pilot, place)
            ledger = where.open_ledger(read_only=True)
            stack.callback(ledger.close)
            opened.append(Part(ledger, where.open_vault(pilot, ledger), where.expired))
        yield opened


def check(path: Path) -> None:
    """Exit code 1 with every problem, or a short confirmation."""
    try:
        pilot = load(path)
    except ManifestError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    say(f"{pilot.name}: fine; {len(pilot.manifest.events.fields)} fields, {len(pilot.feature_names)} features, "
        f"{len(pilot.inputs)} inputs, digest {pilot.digest[:12]}")


def explain(path: Path) -> None:
    """Plain words."""
    from flightworthy.manifest.explain import explain as words

    sys.stdout.write(words(load(path)))


def schema() -> None:
    """JSON Schema."""
    from flightworthy.manifest.schema import json_schema

    say(json.dumps(json_schema(), indent=2))


def new(folder: Path) -> None:
    """Copy the starter pilot. Raises `DataError` when the folder is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError("the folder is not empty", where=str(folder), next_step="choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("flightworthy.pilots") / "starter") as starter:
        for file in sorted(starter.iterdir()):
            if file.suffix in (".yaml", ".py", ".md") and file.name != "__init__.py":
                shutil.copy(file, folder / file.name)
    manifest = folder / "pilot.yaml"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name).lstrip("._-")[:64] or "pilot"
    manifest.write_text(manifest.read_text().replace("pilot: starter", f"pilot: {name}"))
    say(f"made {folder}: edit pilot.yaml, then\n  flightworthy check {folder}\n  flightworthy demo {folder}")
