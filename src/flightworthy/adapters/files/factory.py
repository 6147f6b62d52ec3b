"""Opens ``file:///path`` or a plain path: NDJSON, CSV (both also as .gz) or Parquet, by the name's ending."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightworthy.ground.errors import DataError
from flightworthy.ground.registry import missing_extra
from flightworthy.integration.sources import Source
from flightworthy.manifest.pilot import Pilot

if TYPE_CHECKING:
    from flightworthy.adapters.files.archive import ParquetArchive
    from flightworthy.adapters.files.shelf import FileShelf
    from flightworthy.adapters.files.sink import FileSink


def open_source(url: str, pilot: Pilot) -> Source:
    """Raises `DataError` for a missing file or an unknown ending, `AdapterError` when an extra is missing."""
    path = Path(url.removeprefix("file://"))
    if not path.is_file():
        raise DataError("no such file", where=str(path), next_step="check the path")
    ending = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    if ending in (".ndjson", ".jsonl"):
        from flightworthy.adapters.files.lines import NdjsonSource

        return NdjsonSource(path, pilot)
    if ending == ".csv":
        from flightworthy.adapters.files.lines import CsvSource

        return CsvSource(path, pilot)
    if ending == ".parquet":
        try:
            from flightworthy.adapters.files.parquet import ParquetSource
        except ImportError as error:
            raise missing_extra("duckdb", "files", url) from error
        return ParquetSource(path, pilot)
    raise DataError("unknown kind of file", where=str(path), found=ending, expected=".ndjson, .jsonl, .csv or .parquet")


def open_batches(url: str, pilot: Pilot, batches: Iterable[Any]) -> Source:
    """``arrow:table`` or ``arrow:lines``: batches of Apache Arrow that somebody else reads."""
    from flightworthy.adapters.files import arrow

    if url == "arrow:lines":
        return arrow.lines(batches, pilot, "lines")
    return arrow.TableBatches(batches, pilot, "table")


def open_archive(url: str, memory: int) -> ParquetArchive:
    """For ``file:///path`` of a Parquet file. Raises `DataError`, and `AdapterError` when an extra is missing."""
    try:
        from flightworthy.adapters.files.archive import ParquetArchive
    except ImportError as error:
        raise missing_extra("duckdb", "files", url) from error
    return ParquetArchive(Path(url.removeprefix("file://")), memory)


def open_shelf(url: str, base: Path) -> FileShelf:
    """``file:///folder`` below ``base``, ``file:////folder`` from the root on."""
    from flightworthy.adapters.files.shelf import FileShelf

    return FileShelf(base / url.removeprefix("file:///"))


def open_sink(url: str, base: Path | None = None, **_: Any) -> FileSink:
    """Append to ``file:///path``, relative to the folder for variable data. Raises `AdapterError`."""
    from flightworthy.adapters.files.sink import FileSink

    return FileSink((base or Path()) / url.removeprefix("file:///"))
