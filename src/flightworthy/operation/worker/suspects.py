"""A record that ends the worker that reads it must not end every worker after it.

Each takeover of a partition that was not left in order counts. From the third on, batches become smaller; at last records are
read one at a time, each named in the ledger before it is read, and the one at which a worker ended goes to quarantine unread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flightworthy.governance.ledger import Block, Ledger

TRIES, SUSPECT, OF = "stream:tries", "stream:suspect", "stream:suspect-of"
_SIZES = (8192, 8192, 512, 32)  # records at once, by how often it went wrong
_SAFE = (40_000, 40_000, 20_000, 5_000, 200)  # records after which the trouble lies behind


@dataclass
class Suspects:
    """Of one partition. ``tries``: how often in a row a worker ended here; ``suspect``: topic and offset of the record that is to
    blame, if one is."""

    sources: Sequence[str]
    tries: int = 0
    suspect: tuple[str, int] | None = None
    marks: dict[str, int] = field(default_factory=dict)
    _behind: int = 0
    _safe: int = _SAFE[0]

    @classmethod
    def after(cls, known: dict[str, int], sources: Sequence[str], positions: Sequence[int | None]) -> Suspects:
        """What the ledger knows when a partition is taken up. A record was named before it was read, alone: it is to blame where
        reading goes on with it, or where nothing of its topic was read yet."""
        tries, offset, kind = known.get(TRIES, 0), known.get(SUSPECT, 0) - 1, known.get(OF, 0)
        blamed = tries > len(_SIZES) and offset >= 0 and positions[kind] in (offset, None)
        return cls(sources, tries, (sources[kind], offset) if blamed else None, {TRIES: tries + 1}, 0,
                   _SAFE[min(tries, len(_SAFE) - 1)])

    @property
    def alone(self) -> bool:
        """Whether records are read one at a time."""
        return self.tries >= len(_SIZES)

    def size(self, most: int) -> int:
        """How many records to read at once."""
        return 1 if self.alone else min(most, _SIZES[self.tries])

    def before(self, ledger: Ledger, place: tuple[str, int]) -> None:
        """Name the record that is read next."""
        ledger.commit(Block(progress={SUSPECT: place[1] + 1, OF: self.sources.index(place[0])}))

    def condemned(self, place: tuple[str, int]) -> bool:
        """Whether a worker ended at this record, alone."""
        return self.alone and place == self.suspect

    def passed(self, records: int) -> dict[str, int]:
        """Marks for a commit after which so many more lie behind."""
        before, self._behind = self._behind, self._behind + records
        if before < self._safe <= self._behind:
            self.tries = 0
            return self.clean()
        return {}

    @staticmethod
    def clean() -> dict[str, int]:
        """Marks that say that all is in order."""
        return {TRIES: 0, SUSPECT: 0}
