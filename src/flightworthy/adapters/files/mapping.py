"""Columns of a file → fields of the contract, by the names the manifest lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flightworthy.ground.errors import DataError
from flightworthy.manifest.pilot import Pilot


@dataclass(frozen=True)
class Mapping:
    """``fields``: contract field → column · ``label`` and ``known_at``: their columns, when the file has them."""

    fields: dict[str, str]
    label: str | None
    known_at: str | None


def map_columns(pilot: Pilot, columns: Iterable[str], where: str) -> Mapping:
    """Raises `DataError` naming every required field no column was found for."""
    there = list(columns)
    spec, outcomes = pilot.manifest.events.fields, pilot.manifest.outcomes
    fields: dict[str, str] = {}
    for name, field in spec.items():
        column = next((c for c in (name, *field.columns) if c in there), None)
        if column is not None:
            fields[name] = column
    missing = [name for name, field in spec.items() if name not in fields and not field.nullable]
    if missing:
        raise DataError(f"no column for {', '.join(missing)}", where=where, found=there[:40],
                        expected="the field's name, or one listed under its `columns`",
                        next_step="add `columns: [NAME]` to the field in the manifest")
    label = next((c for c in (outcomes.label, *outcomes.columns) if c in there), None)
    known_at = outcomes.known_at if outcomes.known_at in there else None
    return Mapping(fields, label, known_at)
