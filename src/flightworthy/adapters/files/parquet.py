"""Parquet through DuckDB, streamed in file order: memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb

from flightworthy.adapters.files.mapping import map_columns
from flightworthy.ground.errors import DataError
from flightworthy.integration.sources import AT_ONCE, Records
from flightworthy.manifest.pilot import Pilot

_NUMERIC = ("INT", "DECIMAL", "DOUBLE", "FLOAT", "HUGEINT")


class Conversion:
    """A table's columns as records. Types are converted a column at a time; values a cast cannot express are left for the
    contract. ``types``: DuckDB's, by column."""

    def __init__(self, pilot: Pilot, types: dict[str, str], where: str) -> None:
        self._pilot, self._types, self._where = pilot, types, where
        self._mapping = map_columns(pilot, types, where)

    def records(self, db: duckdb.DuckDBPyConnection, table: str, *values: object) -> Iterator[Records]:
        """All rows of what stands behind FROM, with the values for its parameters. Raises `DataError`."""
        mapping = self._mapping
        names = list(mapping.fields)
        wanted = [self._expression(field, column) for field, column in mapping.fields.items()]
        label = f"CAST({_quoted(mapping.label)} AS DOUBLE)"
        extra = [f"CASE WHEN isfinite({label}) THEN {label} END"] if mapping.label else []
        extra += [f"epoch_us({_quoted(mapping.known_at)})"] if mapping.known_at else []
        try:
            cursor = db.execute(f"SELECT {', '.join(wanted + extra)} FROM {table}", values)  # noqa: S608 - names, quoted
            while rows := cursor.fetchmany(AT_ONCE):
                labels = list(map(itemgetter(len(names)), rows)) if mapping.label else None
                known = list(map(itemgetter(-1), rows)) if mapping.known_at else None
                yield Records(list(map(dict, map(zip, repeat(names), rows))), labels, known)  # the names end each zip
        except duckdb.Error as error:
            raise DataError(f"cannot read the file: {error}", where=self._where) from error

    def _expression(self, field: str, column: str) -> str:
        kind, wanted, name = self._types[column], self._pilot.manifest.events.fields[field].type, _quoted(column)
        if wanted == "text" and "VARCHAR" not in kind:
            return f"CAST({name} AS VARCHAR)"
        if "WITH TIME ZONE" in kind:
            return f"strftime(make_timestamp(epoch_us({name})), '%Y-%m-%dT%H:%M:%S.%fZ')"
        if kind in ("DOUBLE", "FLOAT"):
            return f"CASE WHEN isnan({name}) THEN NULL ELSE CAST({name} AS DOUBLE) END"
        if wanted in ("number", "decimal") and kind.startswith(_NUMERIC):
            return f"CAST({name} AS DOUBLE)"
        return name


class ParquetSource:
    """One file."""

    def __init__(self, path: Path, pilot: Pilot) -> None:
        self.name, self._path = path.name, path
        self._db = duckdb.connect()
        try:
            found = self._db.execute("SELECT * FROM read_parquet(?) LIMIT 0", [_literal(path)]).description
        except duckdb.Error as error:
            raise DataError(f"not a Parquet file: {error}", where=str(path)) from error
        self._conversion = Conversion(pilot, types_of(found), str(path))

    def length(self) -> int | None:
        row = self._db.execute("SELECT count(*) FROM read_parquet(?)", [_literal(self._path)]).fetchone()
        return None if row is None else int(row[0])

    def chunks(self) -> Iterator[Records]:
        return self._conversion.records(self._db.cursor(), "read_parquet(?)", _literal(self._path))


def types_of(description: Any) -> dict[str, str]:
    """DuckDB's types by column, of what it says about a result."""
    return {name: str(kind) for name, kind, *_ in description or []}


def _literal(path: Path) -> str:
    """A path in which nothing is a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))


def _quoted(column: str | None) -> str:
    return '"' + (column or "").replace('"', '""') + '"'
