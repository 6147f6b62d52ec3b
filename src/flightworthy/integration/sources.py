"""Where records come from: a file, later a broker. A source yields raw records in order of arrival, many at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from flightworthy.integration.contract import Raw

AT_ONCE = 8192


class Row(NamedTuple):
    """One record as it arrived; with its label where the same row holds it (history files). ``known_at`` in
    microseconds."""

    raw: Raw
    label: float | None = None
    known_at: int | None = None


@dataclass(frozen=True)
class Records:
    """Consecutive records as columns (n). ``labels`` None: the source holds none."""

    raws: list[Raw]
    labels: list[float | None] | None = None
    known_at: list[int | None] | None = None

    def rows(self) -> Iterator[Row]:
        """The same, one by one."""
        nothing = [None] * len(self.raws)
        return map(Row, self.raws, self.labels or nothing, self.known_at or nothing)


class Source(Protocol):
    """A readable stream of records. Bad records are yielded like good ones: the contract judges, not the reader."""

    name: str

    def chunks(self) -> Iterator[Records]:
        """All records, from the first. Raises `DataError` when the source as a whole cannot be read."""
        ...

    def length(self) -> int | None:
        """Number of records where that is cheap to know."""
        ...


def chunked(rows: Iterable[Row], size: int = AT_ONCE) -> Iterator[Records]:
    """Rows as columns, ``size`` at a time."""
    source = iter(rows)
    while chunk := list(islice(source, size)):
        raws, labels, known = zip(*chunk, strict=True)
        told = any(label is not None for label in labels)
        yield Records(list(raws), list(labels) if told else None, list(known) if told else None)


def rows(chunks: Iterable[Records]) -> Iterator[Row]:
    """Records one by one."""
    for chunk in chunks:
        yield from chunk.rows()
