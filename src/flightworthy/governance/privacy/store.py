"""What a ledger keeps about the people its decisions are about: for each a key, wrapped, and nothing that names the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Subject(NamedTuple):
    """``tag`` (16 bytes) is found by whoever knows the person and the keyed index; ``ref`` (16 random bytes) stands in records;
    ``wrapped`` is the person's key under the wrapping key; ``made`` microseconds UTC."""

    tag: bytes
    ref: bytes
    wrapped: bytes
    made: int


class Subjects(Protocol):
    """Rows come in with `Block.subjects` and go with `Block.erased`. Every method raises `LedgerError`."""

    def find(self, tags: Sequence[bytes]) -> list[Subject]:
        """Those of these tags that are there."""
        ...

    def known(self, refs: Sequence[bytes]) -> list[Subject]:
        """Those of these refs that are there."""
        ...

    def page(self, after: bytes = b"", limit: int = 1000) -> list[Subject]:
        """All, by ref."""
        ...

    def rewrap(self, rows: Sequence[Subject]) -> None:
        """Put other wrapped keys in the place of those of the same refs; durable."""
        ...

    def count(self) -> int:
        """How many there are."""
        ...
