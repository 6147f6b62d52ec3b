"""When all of a partition is here."""

from __future__ import annotations

import logging

_log = logging.getLogger("flightworthy.stream")
_DOUBT = 30.0  # seconds without a record after which a doubtful end counts


class Ends:
    """Of which partitions of a topic all is here, by what the client says when it reaches an end.

    A client that was sent elsewhere may still say that of where it was before. So as long as nothing came since, an end that lies
    beyond where reading began counts only after a while: there may be nothing but marks of transactions in between. And a broker
    that starts again may for a moment not know yet how much it has: an end before one that was known counts only after a while,
    when the topic may really have lost records.
    """

    def __init__(self) -> None:
        self._drained: set[int] = set()
        self._began: dict[int, int] = {}  # partition → offset, where nothing came since
        self._known: dict[int, int] = {}  # partition → the highest end that the broker was heard to have
        self._doubtful: dict[int, float] = {}  # partition → when its end was said

    def started(self, partition: int, offset: int | None) -> None:
        """Reading begins at an offset (None: the oldest)."""
        self.forget(partition)
        self._began[partition] = offset or 0

    def told(self, partition: int, end: int) -> None:
        """The broker is known to have records up to here."""
        if end > self._known.get(partition, 0):
            self._known[partition] = end

    def passed(self, partition: int) -> None:
        """A record came."""
        if partition in self._drained or partition in self._began or partition in self._doubtful:
            self.forget(partition)

    def reached(self, partition: int, offset: int, now: float) -> None:
        """The client says that there is nothing at this offset yet."""
        if offset > self._began.get(partition, offset) or offset < self._known.get(partition, 0):
            _log.info("partition %d: an end at %d is not believed yet; reading began at %s, %d records were known", partition, offset,
                      self._began.get(partition), self._known.get(partition, 0))
            self._doubtful[partition] = now
        else:
            self._drained.add(partition)

    def drained(self, partition: int, now: float) -> bool:
        """Whether all is here."""
        return partition in self._drained or now - self._doubtful.get(partition, now) > _DOUBT

    def forget(self, partition: int) -> None:
        """It is read no more."""
        self._drained.discard(partition)
        self._began.pop(partition, None)
        self._doubtful.pop(partition, None)
