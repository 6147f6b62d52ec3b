"""Records that another system reads: batches of Apache Arrow, of a table or of lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from flightworthy.adapters.files.lines import NdjsonSource
from flightworthy.adapters.files.parquet import Conversion, types_of
from flightworthy.integration.sources import Records
from flightworthy.manifest.pilot import Pilot

LINE = "value"


class TableBatches:
    """Batches whose columns are a table's."""

    def __init__(self, batches: Iterable[Any], pilot: Pilot, name: str) -> None:
        self.name, self._batches, self._pilot = name, batches, pilot

    def length(self) -> int | None:
        return None

    def chunks(self) -> Iterator[Records]:
        db, conversion = duckdb.connect(), None
        for batch in self._batches:
            db.register("batch", batch)
            if conversion is None:
                found = db.execute("SELECT * FROM batch LIMIT 0").description
                conversion = Conversion(self._pilot, types_of(found), self.name)
            yield from conversion.records(db, "batch")
            db.unregister("batch")


def lines(batches: Iterable[Any], pilot: Pilot, name: str) -> NdjsonSource:
    """Batches of one column: bytes of JSON."""
    return NdjsonSource(Path(name), pilot, (line for batch in batches for line in batch.column(LINE).to_pylist()))
