"""When all of a partition is here, and whether the client reads on where it was sent."""

from __future__ import annotations

import logging

_log = logging.getLogger("flightworthy.stream")
_DOUBT = 30.0  # seconds without a record after which a doubtful end counts
_MARKS = 16  # offsets that marks of transactions may take behind the last record
_YOUNG = 5.0  # seconds in which a client may still go elsewhere: then every gap is asked for again, later only a wide one


class Ends:
    """Of which partitions of a topic all is here, by what the client says when it reaches an end.

    A client that was sent elsewhere may still say that of where it was before, and a broker that starts again may for a moment
    not know yet how much it has. So an end counts where it follows what was read, but for a few marks of transactions, and does
    not lie before one that was known. Any other counts only after a while in which nothing comes: there may be nothing else in
    between, or the topic has lost records.

    A client that is sent to an offset while it still looks up another may go there in the end (librdkafka issue 2256), and pass
    over all that lies before. So where it goes on behind a gap, with what was not there yet when reading began, it is sent back
    once; what comes then is believed, since topics have gaps.
    """

    def __init__(self) -> None:
        self._drained: set[int] = set()
        self._next: dict[int, int] = {}  # partition → offset after the last record, or where reading began
        self._known: dict[int, int] = {}  # partition → the highest end that the broker was heard to have
        self._doubtful: dict[int, float] = {}  # partition → when its end was said
        self._since: dict[int, float] = {}  # partition → when reading began
        self._least: dict[int, int] = {}  # partition → the end that was known when reading began, 0 where none was
        self._begun: dict[int, int] = {}  # partition → the end that was known when its first record came
        self._asked: dict[int, int] = {}  # partition → the last offset behind a gap

    def started(self, partition: int, offset: int | None, now: float) -> None:
        """Reading begins at an offset (None: the oldest)."""
        self.forget(partition)
        self._next[partition], self._since[partition] = offset or 0, now
        if offset is not None:
            self._least[partition] = self._known.get(partition, 0)

    def next(self, partition: int) -> int:
        """The offset at which reading goes on."""
        return self._next[partition]

    def told(self, partition: int, end: int | None) -> None:
        """The broker says that it has records up to here; it may say less while it starts."""
        self._known[partition] = max(self._known.get(partition, 0), end or 0)

    def passed(self, partition: int, offset: int, now: float) -> bool:
        """A record came; false where it does not count, since the client may be astray: send it to `next`."""
        if offset > self._next.get(partition, offset) and self._astray(partition, offset, now):
            return False
        self._next[partition] = offset + 1
        if partition not in self._begun:
            self._begun[partition] = max(self._known.get(partition, 0), offset + 1)
        if partition in self._drained or partition in self._doubtful:
            self._drained.discard(partition)
            self._doubtful.pop(partition, None)
        return True

    def reached(self, partition: int, offset: int, now: float) -> bool:
        """The client says that there is nothing at this offset yet; false as with `passed`."""
        after, known = self._next.get(partition, offset), self._known.get(partition, 0)
        astray = self._astray(partition, offset, now)
        if not astray and 0 <= offset - after <= _MARKS and offset >= known:
            self._drained.add(partition)
            return True
        if offset != after:  # else more came since it was said, many times a second
            _log.info("partition %d: an end at %d is not believed yet: %d is next, %d are known", partition, offset, after,
                      known)
        self._doubtful[partition] = now
        return not astray

    def _astray(self, partition: int, offset: int, now: float) -> bool:
        """Whether this lies behind a gap, was not there when reading began, and was not asked for again yet."""
        gap = offset - self._next.get(partition, offset)
        if gap <= 0 or self._asked.get(partition) == offset:
            return False
        young = partition not in self._begun or now - self._since[partition] < _YOUNG
        if offset < (self._least.get(partition, offset + 1) if young else self._begun[partition]) or not (young or gap > _MARKS):
            return False
        self._asked[partition] = offset
        return True

    def drained(self, partition: int, now: float) -> bool:
        """Whether all is here."""
        return partition in self._drained or now - self._doubtful.get(partition, now) > _DOUBT

    def forget(self, partition: int) -> None:
        """It is read no more."""
        self._drained.discard(partition)
        for known in (self._next, self._doubtful, self._since, self._least, self._begun, self._asked):
            known.pop(partition, None)
