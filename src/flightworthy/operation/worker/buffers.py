"""What was fetched of one partition and not decided yet: events and outcomes, put in one order by the broker's time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from flightworthy.decision.work import EVENT, OUTCOME
from flightworthy.integration.contract import Raw
from flightworthy.integration.streams import Fetched

NEVER = -(2**62)


class Places(Sequence[tuple[str, int]]):
    """Where each raw of a batch came from; looked up for the few that are refused."""

    def __init__(self, sources: tuple[str, ...], kinds: list[int] | None, offsets: list[int]) -> None:
        self._sources, self._kinds, self._offsets = sources, kinds, offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> tuple[str, int]:  # type: ignore[override]
        return self._sources[0 if self._kinds is None else self._kinds[index]], self._offsets[index]


class Portion(NamedTuple):
    """The next records of a partition in their order. ``positions``: what to read next of each topic, None where nothing was."""

    raws: list[Raw]
    kinds: list[int] | None
    offsets: list[int]
    positions: tuple[int | None, int | None]
    past: bool


@dataclass
class Buffer:
    """Of one topic. ``moved``: the newest of the broker's times as far as each record, so that it never goes back; ``newest``: of
    all that came, ``taken``: of all that was taken."""

    raws: list[Raw] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    newest: int = NEVER
    taken: int = NEVER
    fetched: int = -1  # the offset after the last one that came

    def add(self, more: Fetched) -> None:
        """Put behind what is there."""
        self.raws += more.raws
        self.offsets += more.offsets
        self.moved += list(accumulate(more.stamps, max, initial=self.newest))[1:]
        self.newest, self.fetched = self.moved[-1], more.offsets[-1] + 1

    def __len__(self) -> int:
        return len(self.raws)

    def take(self, n: int) -> tuple[list[Raw], list[int], list[int]]:
        """The first n records, offsets and times."""
        out = self.raws[:n], self.offsets[:n], self.moved[:n]
        self.taken = self.moved[n - 1] if n else self.taken
        del self.raws[:n], self.offsets[:n], self.moved[:n]
        return out


class Buffers:
    """Of both topics of a partition. ``newest``: the newest of the broker's times before what will come, of each."""

    def __init__(self, history_until: int = NEVER, newest: tuple[int, int] = (NEVER, NEVER)) -> None:
        self.events, self.outcomes = (Buffer(newest=one, taken=one) for one in newest)
        self._until = history_until

    def of(self, kind: int) -> Buffer:
        """That of one topic."""
        return self.outcomes if kind == OUTCOME else self.events

    def add(self, more: Fetched) -> None:
        """Records that came."""
        self.of(more.kind).add(more)

    def __len__(self) -> int:
        return len(self.events) + len(self.outcomes)

    def known(self, drained: tuple[bool, bool]) -> bool:
        """Whether the next records are here: there are some, and none of the other topic may still come before them."""
        return bool(len(self)) and all(b.raws or dry for b, dry in zip((self.events, self.outcomes), drained, strict=True))

    def portion(self, size: int, drained: tuple[bool, bool], complete: int | None = None) -> Portion | None:
        """At most so many of the next records; None where there are none, or where what comes next is not known: one topic has
        records, and of the other there are some that did not arrive yet. ``drained``: of each topic, whether all of it is here;
        ``complete``: up to which of the broker's times (microseconds) it is, where somebody else knows.

        Records stand in the order of the broker's time, an event before an outcome of the same time; those of one topic
        never change places.
        """
        bound = complete if complete is not None else min(
            [b.newest if b.raws else -NEVER if dry else NEVER
             for b, dry in zip((self.events, self.outcomes), drained, strict=True)])
        past = bool(self.events.raws) and self.events.moved[0] < self._until
        events = bisect_right(self.events.moved, bound, hi=min(size, len(self.events.raws)))
        if past:
            events = bisect_left(self.events.moved, self._until, hi=events)
        if not self.outcomes.raws:
            raws, offsets, _ = self.events.take(events)
            return Portion(raws, None, offsets, (offsets[-1] + 1, None), past) if raws else None
        follow = complete is None and not drained[EVENT] and bound == self.events.newest
        return self._merged(events, bound, follow, size, past)

    def _merged(self, events: int, bound: int, events_follow: bool, size: int, past: bool) -> Portion | None:
        before = bisect_left if events_follow else bisect_right  # another event of that same time would come before them
        outcomes = before(self.outcomes.moved, bound, hi=min(size, len(self.outcomes.raws)))
        # Of both only as far as the other reaches too, else the next portion would go back in time.
        if events < len(self.events.raws):
            outcomes = bisect_left(self.outcomes.moved, self.events.moved[events], hi=outcomes)
        if outcomes < len(self.outcomes.raws):
            events = bisect_right(self.events.moved, self.outcomes.moved[outcomes], hi=events)
        if size == 1 and events and outcomes:  # one record at a time is asked for where one of them ends processes
            events, outcomes = (0, 1) if self.outcomes.moved[0] < self.events.moved[0] else (1, 0)
        return _in_order(self.events.take(events), self.outcomes.take(outcomes), past) if events or outcomes else None


Taken = tuple[list[Raw], list[int], list[int]]  # records, offsets, times


def _in_order(events: Taken, told: Taken, past: bool) -> Portion:
    """Records of both topics by their times, an event before an outcome of the same; both come in order, outcomes are few."""
    positions = events[1][-1] + 1 if events[1] else None, told[1][-1] + 1 if told[1] else None
    if not told[0]:
        return Portion(events[0], None, events[1], positions, past)
    raws, kinds, offsets = list[Raw](), list[int](), list[int]()
    start = 0
    for raw, offset, at in zip(*told, strict=True):
        stop = bisect_right(events[2], at, lo=start)
        raws += [*events[0][start:stop], raw]
        kinds += [EVENT] * (stop - start) + [OUTCOME]
        offsets += [*events[1][start:stop], offset]
        start = stop
    rest = len(events[0]) - start
    return Portion(raws + events[0][start:], kinds + [EVENT] * rest, offsets + events[1][start:], positions, past)
