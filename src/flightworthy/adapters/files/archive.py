"""Events on disk through DuckDB, which sorts and joins beyond memory; what comes of them goes to one Parquet file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb
import numpy as np

from flightworthy.ground.errors import DataError
from flightworthy.ground.files import kept
from flightworthy.integration.archive import UNKNOWN, Effect, Floats, Ints, Put, Told
from flightworthy.integration.sources import AT_ONCE

# Of the first event of each id: `label` is NaN where nothing is known.
_KEEP = f"""
CREATE TABLE kept AS
SELECT origin, id, time, body, label,
       CASE WHEN known = {UNKNOWN} THEN time + $delay ELSE greatest(known, time) END AS known
FROM (SELECT put.origin, put.id, put.time, put.body,
             CASE WHEN late.id IS NULL THEN put.label ELSE late.label END AS label,
             CASE WHEN late.id IS NULL THEN put.known ELSE late.known END AS known
      FROM (SELECT * FROM put QUALIFY row_number() OVER (PARTITION BY id ORDER BY origin) = 1) AS put
      LEFT JOIN (SELECT * FROM told QUALIFY row_number() OVER (PARTITION BY id ORDER BY origin DESC) = 1) AS late USING (id))
"""  # noqa: S608 - a number of ours
# Outcomes of one instant stand in the order of their events.
_EFFECTS = """
SELECT kind, origin, id, label, known, body FROM (
    SELECT 0 AS kind, time AS moment, time, origin, id, label, known, body FROM kept
    UNION ALL
    SELECT 1, known, time, origin, id, label, known, body FROM kept WHERE NOT isnan(label) AND label IS DISTINCT FROM $no_label)
ORDER BY moment, kind DESC, time, origin
"""


class ParquetArchive:
    """A database beside the file that will come of it, with at most ``memory`` bytes in memory of its own."""

    def __init__(self, path: Path, memory: int) -> None:
        self._path, self._folder = path, None
        self._no_label, self._came, self._made = float("nan"), [0, 0], False
        with self._said():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                # Several threads sort no faster than we decode what they sorted, and need memory for each run that they merge.
                self._db = duckdb.connect(self._folder / "archive.duckdb", config={
                    "memory_limit": f"{memory}B", "temp_directory": str(self._folder / "spilled"), "threads": 1})
            except BaseException:
                shutil.rmtree(self._folder)
                raise
            self._db.execute("SET TimeZone = 'UTC';"
                             "CREATE TABLE put (origin BIGINT, id VARCHAR, time BIGINT, label DOUBLE, known BIGINT, body BLOB);"
                             "CREATE TABLE told (origin BIGINT, id VARCHAR, label DOUBLE, known BIGINT)")

    def put(self, events: Put) -> None:
        self._insert("put", 0, {"id": _objects(events.ids), "time": events.times, "label": events.labels, "known": events.known,
                                "body": _objects(events.bodies)})

    def tell(self, outcomes: Told) -> None:
        self._insert("told", 1, {"id": _objects(outcomes.ids), "label": outcomes.labels, "known": outcomes.known})

    def _insert(self, table: str, which: int, columns: Mapping[str, Any]) -> None:
        n, first = len(columns["id"]), self._came[which]
        rows = {"origin": np.arange(first, first + n), **columns}  # noqa: F841 - DuckDB reads it by its name
        self._came[which] += n
        with self._said():
            self._db.execute(f"INSERT INTO {table} SELECT * FROM rows")  # noqa: S608 - a table of ours

    def close_in(self, delay: int, no_label: float) -> int:
        self._no_label = no_label
        with self._said():
            self._db.execute(_KEEP, {"delay": delay})
            (stay,) = self._db.execute("SELECT count(*) FROM kept").fetchone() or (0,)
            self._db.execute("DROP TABLE put; DROP TABLE told")
        return self._came[0] - int(stay)

    def effects(self) -> Iterator[Effect]:
        with self._said():
            cursor = self._db.cursor().execute(_EFFECTS, {"no_label": self._no_label})
            while rows := cursor.fetchmany(AT_ONCE):
                kinds, origins, ids, labels, known, bodies = zip(*rows, strict=True)
                yield Effect(np.array(kinds, np.int64), np.array(origins, np.int64), ids, np.array(labels, np.float64),
                             np.array(known, np.int64), bodies)

    def write(self, instants: Mapping[str, Ints], columns: Mapping[str, Sequence[object] | Floats]) -> None:
        rows = {name: column if isinstance(column, np.ndarray) else _objects(column)
                for name, column in {**instants, **columns}.items()}
        shown = {name: f"CASE WHEN {_quoted(name)} > {UNKNOWN} THEN make_timestamp({_quoted(name)})::TIMESTAMPTZ END"
                 for name in instants}
        shown |= {name: f"nullif({_quoted(name)}, 'nan'::DOUBLE)"
                  for name, column in rows.items() if isinstance(column, np.ndarray) and column.dtype == np.float64}
        with self._said():
            wanted = ", ".join(f"{shown.get(name, _quoted(name))} AS {_quoted(name)}" for name in rows)
            self._db.execute(f"INSERT INTO made SELECT {wanted} FROM rows" if self._made else  # noqa: S608 - names, quoted
                             f"CREATE TABLE made AS SELECT {wanted} FROM rows")  # noqa: S608
        self._made = True

    def finish(self) -> None:
        assert self._folder is not None  # noqa: S101
        with self._said():
            part = self._folder / "made.parquet"
            self._db.execute("COPY made TO $part (FORMAT parquet, COMPRESSION zstd)", {"part": str(part)})
            kept(part, self._path)

    def close(self) -> None:
        self._db.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.OutOfMemoryException, duckdb.IOException, OSError) as error:
            raise DataError(f"the events do not fit: {error}", where=str(self._path.parent),
                            next_step="give it more disk, or with --memory more memory") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _objects(values: Sequence[object]) -> Any:
    out = np.empty(len(values), object)
    out[:] = values
    return out
