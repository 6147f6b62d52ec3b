"""A ledger that fails as declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from flightworthy.adapters.faulty.faults import LOST, PARTIAL, Misfortune
from flightworthy.governance.ledger import Block, Counts, Entries, Entry, Ledger, Quarantined
from flightworthy.ground.errors import AdapterError, LedgerError


class FaultyLedger:
    """Passes calls on. ``partial``: the first half of a block's entries becomes durable, then the commit raises."""

    def __init__(self, inner: Ledger, misfortune: Misfortune) -> None:
        self._inner, self._misfortune = inner, misfortune
        self.log, self.subjects = inner.log, inner.subjects

    def commit(self, block: Block) -> None:
        struck = self._before("commit")
        half = len(block.entries) // 2
        if struck != PARTIAL or half == 0:
            self._inner.commit(block)
        else:
            self._inner.commit(Block(block.entries[:half]))
        if struck in (PARTIAL, LOST):
            raise _translated(self._misfortune.error("commit", struck))

    def turn(self, patience: float = 30.0) -> AbstractContextManager[int | None]:
        return self._inner.turn(patience)

    def find(self, keys: Sequence[str]) -> dict[str, int]:
        self._before("find")
        return self._inner.find(keys)

    def events(self, first: int, last: int) -> Iterator[Sequence[tuple[str, int]]]:
        self._before("find")
        return self._inner.events(first, last)

    def newest(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        self._before("newest")
        return self._inner.newest(kind, keys)

    def read(self, seqs: Sequence[int]) -> list[Entry]:
        self._before("read")
        return self._inner.read(seqs)

    def scan(self, first: int = 1, kinds: Iterable[str] = ()) -> Iterator[Entry]:
        self._before("scan")
        return self._inner.scan(first, kinds)

    def columns(self, first: int, last: int) -> Iterator[Entries]:
        self._before("scan")
        return self._inner.columns(first, last)

    def last(self) -> int:
        self._before("last")
        return self._inner.last()

    def counts(self) -> Counts:
        self._before("counts")
        return self._inner.counts()

    def progress(self, source: str) -> int:
        self._before("progress")
        return self._inner.progress(source)

    def positions(self) -> dict[str, int]:
        self._before("progress")
        return self._inner.positions()

    def quarantine(self, status: str = "held", after: int = 0, limit: int = 100) -> list[Quarantined]:
        self._before("quarantine")
        return self._inner.quarantine(status, after, limit)

    def quarantine_counts(self) -> dict[tuple[str, str], int]:
        self._before("quarantine")
        return self._inner.quarantine_counts()

    def scrub(self) -> None:
        self._inner.scrub()

    def close(self) -> None:
        self._inner.close()

    def _before(self, call: str) -> str:
        try:
            return self._misfortune.before(call)
        except AdapterError as error:
            raise _translated(error) from error


def _translated(error: AdapterError) -> LedgerError:
    return LedgerError(error.what, where=error.where, next_step=error.next_step, retryable=error.retryable)
