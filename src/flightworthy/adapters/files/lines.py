"""Files of lines: NDJSON and CSV. A line that cannot be read is passed on as its raw bytes."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from flightworthy.adapters.files.mapping import Mapping, map_columns
from flightworthy.ground.clock import micros
from flightworthy.ground.errors import DataError
from flightworthy.integration.contract import RejectionError, no_duplicates
from flightworthy.integration.sources import Records, Row, chunked
from flightworthy.manifest.pilot import Pilot

_BOM = b"\xef\xbb\xbf"
_TRUTH = {"1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}


class NdjsonSource:
    """One JSON object a line. A line that uses another name the manifest lists, or holds its own label, is taken apart by
    those names; every other line goes on untouched, for the contract to judge."""

    def __init__(self, path: Path, pilot: Pilot, lines: Iterable[bytes] | None = None) -> None:
        """``lines``: instead of those of the file, where somebody else reads them."""
        self.name, self._path, self._pilot = path.name, path, pilot
        self._lines = lines

    def length(self) -> int | None:
        return None

    def chunks(self) -> Iterator[Records]:
        return chunked(self._rows())

    def _rows(self) -> Iterator[Row]:
        mappings: dict[frozenset[str], Mapping | None] = {}
        foreign, taken, refused = self._foreign(), 0, None
        for line in _lines(self._path) if self._lines is None else self._lines:
            text = line.strip()
            members = _members(text) if text else None
            mapping = None
            if members is not None and not members.keys().isdisjoint(foreign) and not _repeats(text):
                names = frozenset(members)
                if names not in mappings:
                    try:
                        mappings[names] = map_columns(self._pilot, members, str(self._path))
                    except DataError as error:  # this line's fault, or the manifest's: told when nothing at all fits
                        mappings[names], refused = None, refused or error
                mapping = mappings[names]
            taken += members is not None and (mapping is not None or members.keys().isdisjoint(foreign))
            if mapping is None or members is None:
                if text:
                    yield Row(text)
                continue
            raw = {field: members[column] for field, column in mapping.fields.items() if column in members}
            yield Row(raw, _label(members.get(mapping.label or "")), _instant(members.get(mapping.known_at or "")))
        if refused is not None and taken == 0:
            raise refused

    def _foreign(self) -> set[str]:
        """Names that are not the contract's own, but are listed for files."""
        events, outcomes = self._pilot.manifest.events, self._pilot.manifest.outcomes
        listed = {name for field in events.fields.values() for name in field.columns}
        known_at = {outcomes.known_at} if outcomes.known_at is not None else set()
        return (listed | known_at | {outcomes.label, *outcomes.columns}) - events.fields.keys()


class CsvSource:
    """A header and rows; quoted fields may span lines. An empty cell is null."""

    def __init__(self, path: Path, pilot: Pilot) -> None:
        self.name, self._path, self._pilot = path.name, path, pilot

    def length(self) -> int | None:
        return None

    def chunks(self) -> Iterator[Records]:
        return chunked(self._rows())

    def _rows(self) -> Iterator[Row]:
        taken: list[bytes] = []
        reader = csv.reader(_decoded(self._path, taken), strict=True)
        try:
            header = next(reader, None)
        except csv.Error as error:
            raise DataError(f"the header is not CSV: {error}", where=str(self._path)) from error
        if header is None:
            return
        mapping = map_columns(self._pilot, header, str(self._path))
        at = {column: i for i, column in enumerate(header)}
        while True:
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield Row(b"".join(taken))
                continue
            if cells:
                yield self._row(cells, len(header), at, mapping, b"".join(taken))

    @staticmethod
    def _row(cells: list[str], width: int, at: dict[str, int], mapping: Mapping, raw: bytes) -> Row:
        if len(cells) != width or any("\udc80" <= c <= "\udcff" for cell in cells for c in cell):
            return Row(raw)
        members = {field: cells[at[column]] or None for field, column in mapping.fields.items()}
        label = cells[at[mapping.label]] if mapping.label else None
        known = cells[at[mapping.known_at]] if mapping.known_at else None
        return Row(members, _label(label), _instant(known))


def _lines(path: Path) -> Iterator[bytes]:
    first = True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                yield line.removeprefix(_BOM) if first else line
                first = False
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the file: {error}", where=str(path)) from error


def _decoded(path: Path, taken: list[bytes]) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 become lone surrogates, so that the row can be told apart."""
    for line in _lines(path):
        taken.append(line)
        yield line.decode("utf-8", errors="surrogateescape")


def _repeats(text: bytes) -> bool:
    try:
        no_duplicates(text)
    except RejectionError:
        return True
    return False


def _members(line: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _label(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return float(value)
    text = str(value).strip().lower()
    try:
        number = _TRUTH[text] if text in _TRUTH else float(text)
    except ValueError as error:
        raise DataError("a label is neither a number nor a truth value", found=value) from error
    if not math.isfinite(number):
        raise DataError("a label is not a finite number", found=value)
    return number


def _instant(value: Any) -> int | None:
    if value in (None, ""):
        return None
    try:
        return micros(datetime.fromisoformat(str(value)))
    except ValueError as error:
        raise DataError("the time a label became known cannot be read", found=value, expected="RFC 3339") from error
