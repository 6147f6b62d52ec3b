"""From a file to a checked `Pilot`, or every mistake at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flightworthy.ground.errors import ManifestError, Problem, nearest
from flightworthy.manifest.check import Checker
from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import Manifest
from flightworthy.manifest.text import Path as Place
from flightworthy.manifest.text import Text, read

_PLAIN = {"missing": "this key is missing", "extra_forbidden": "unknown key"}


def load(path: Path) -> Pilot:
    """Read the manifest at ``path`` (a file, or a folder with ``pilot.yaml``).

    Raises `ManifestError` listing every problem with line, column, path, what was found and what was expected.
    """
    file = path / "pilot.yaml" if path.is_dir() else path
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError("cannot read the manifest", where=str(file), problems=(Problem("", 1, 1, str(error)),),
                            next_step="give the folder of a pilot or its pilot.yaml") from None
    return parse(source, str(file), file.parent)


def parse(source: str, where: str = "pilot.yaml", folder: Path | None = None) -> Pilot:
    """Check the text of a manifest. Raises `ManifestError`."""
    text = read(source)
    problems = list(text.problems)
    pilot: Pilot | None = None
    if not problems:
        manifest, problems = _shape(text)
        if manifest is not None:
            checker = Checker(manifest, text, folder or Path())
            pilot = checker.pilot()
            problems += checker.problems
    if pilot is None or problems:
        ordered = tuple(sorted(problems, key=lambda p: (p.line, p.column, p.path)))
        raise ManifestError("the manifest does not hold", where=where, problems=ordered)
    return pilot


def _shape(text: Text) -> tuple[Manifest | None, list[Problem]]:
    """The manifest and its mistakes of shape. What is wrong but optional is left out, so that the rest can be checked
    in the same run."""
    problems: list[Problem] = []
    value = copy.deepcopy(text.value)
    while True:
        try:
            return Manifest.model_validate(value), problems
        except ValidationError as error:
            items = error.errors(include_url=False)
        found = [_problem(text, item) for item in items]
        # A value that fits no branch of a union is one mistake, not one for each branch.
        problems += [p for i, p in enumerate(found) if p.path not in {q.path for q in found[:i]}]
        wrong = {_place(text.value, item["loc"], item["type"] == "missing"): str(item["type"]) for item in items}
        if not all([_prune(value, place, kind) for place, kind in wrong.items()]):
            return None, problems


def _prune(value: Any, place: Place, kind: str) -> bool:
    """Remove a mistake from the raw value; False when what is there cannot be left out."""
    section: Any = Manifest
    for part in place[:-1]:
        section = _step(section, part)
        value = _child(value, part)
    if not place or not isinstance(value, dict) or place[-1] not in value:
        return False
    fields = {info.alias or name: info for name, info in section.model_fields.items()} if _is_section(section) else {}
    optional = place[-1] in fields and not fields[str(place[-1])].is_required()
    if kind != "extra_forbidden" and not optional:
        return False
    del value[place[-1]]
    return True


def _child(value: Any, part: str | int) -> Any:
    if isinstance(value, list):
        return value[part] if isinstance(part, int) and part < len(value) else None
    return value.get(part) if isinstance(value, dict) else None


def _problem(text: Text, item: Any) -> Problem:
    kind = str(item["type"])
    place = _place(text.value, item["loc"], kind == "missing")
    message = _PLAIN.get(kind, str(item["msg"]).removeprefix("Value error, "))
    hint = nearest(str(place[-1]), _known_keys(place[:-1])) if kind == "extra_forbidden" and place else ""
    shown = "" if kind in _PLAIN else repr(item.get("input"))[:120]
    return text.problem(place, message, found=shown, hint=hint)


def _place(value: Any, loc: tuple[str | int, ...], missing: bool = False) -> Place:
    """The part of a validation path that names places in the text (union branches are not places)."""
    out: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(value, dict) and (part in value or (missing and index == len(loc) - 1)):
            out.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            out.append(part)
            value = value[part]
    return tuple(out)


def _known_keys(place: Place) -> list[str]:
    """Keys the section at a path has."""
    section: Any = Manifest
    for part in place:
        section = _step(section, part)
        if section is None:
            return []
    return [f.alias or name for name, f in section.model_fields.items()] if _is_section(section) else []


def _step(section: Any, part: str | int) -> Any:
    if not _is_section(section):
        return section
    for name, info in section.model_fields.items():
        if part in (name, info.alias):
            return _inner(info.annotation)
    return None


def _inner(annotation: Any) -> Any:
    if _is_section(annotation):
        return annotation
    found = [inner for arg in getattr(annotation, "__args__", ()) if (inner := _inner(arg)) is not None]
    return found[-1] if found else None


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
