"""Where records come from: a file, later a broker. A source yields raw records in order of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from flightworthy.integration.contract import Raw


class Row(NamedTuple):
    """One record as it arrived; with its label where the same row holds it (history files). ``known_at`` in
    microseconds."""

    raw: Raw
    label: float | None = None
    known_at: int | None = None


class Source(Protocol):
    """A readable stream of records. Bad records are yielded like good ones: the contract judges, not the reader."""

    name: str

    def rows(self) -> Iterator[Row]:
        """All records, from the first. Raises `DataError` when the source as a whole cannot be read."""
        ...

    def length(self) -> int | None:
        """Number of records where that is cheap to know."""
        ...
