"""When all of a partition is here."""

from __future__ import annotations

import logging

_log = logging.getLogger("flightworthy.stream")
_DOUBT = 30.0  # seconds without a record after which a doubtful end counts
_MARKS = 16  # offsets that marks of transactions may take behind the last record


class Ends:
    """Of which partitions of a topic all is here, by what the client says when it reaches an end.

    A client that was sent elsewhere may still say that of where it was before, and a broker that starts again may for a moment
    not know yet how much it has. So an end counts where it follows what was read, but for a few marks of transactions, and does
    not lie before one that was known. Any other counts only after a while in which nothing comes: there may be nothing else in
    between, or the topic has lost records.
    """

    def __init__(self) -> None:
        self._drained: set[int] = set()
        self._next: dict[int, int] = {}  # partition → offset after the last record, or where reading began
        self._known: dict[int, int] = {}  # partition → the highest end that the broker was heard to have
        self._doubtful: dict[int, float] = {}  # partition → when its end was said

    def started(self, partition: int, offset: int | None) -> None:
        """Reading begins at an offset (None: the oldest)."""
        self.forget(partition)
        self._next[partition] = offset or 0

    def told(self, partition: int, end: int | None) -> None:
        """The broker says that it has records up to here; it may say less while it starts."""
        self._known[partition] = max(self._known.get(partition, 0), end or 0)

    def passed(self, partition: int, offset: int) -> None:
        """A record came."""
        self._next[partition] = offset + 1
        if partition in self._drained or partition in self._doubtful:
            self._drained.discard(partition)
            self._doubtful.pop(partition, None)

    def reached(self, partition: int, offset: int, now: float) -> None:
        """The client says that there is nothing at this offset yet."""
        after, known = self._next.get(partition, offset), self._known.get(partition, 0)
        if 0 <= offset - after <= _MARKS and offset >= known:
            self._drained.add(partition)
        else:
            _log.info("partition %d: an end at %d is not believed yet: %d is next, %d are known", partition, offset, after, known)
            self._doubtful[partition] = now

    def drained(self, partition: int, now: float) -> bool:
        """Whether all is here."""
        return partition in self._drained or now - self._doubtful.get(partition, now) > _DOUBT

    def forget(self, partition: int) -> None:
        """It is read no more."""
        self._drained.discard(partition)
        self._next.pop(partition, None)
        self._doubtful.pop(partition, None)
