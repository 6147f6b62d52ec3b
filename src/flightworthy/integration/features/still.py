"""A group as it was at one instant, while it goes on: whoever changes an entity copies it first, a thread beside copies the rest.

Nobody waits for a copy of all memory, but for that of the entities at hand (a group without a key is one entity, copied whole);
what is copied lies without gaps at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from flightworthy.integration.features import kernel
from flightworthy.integration.features.rings import NEXT, OLDEST

if TYPE_CHECKING:
    from flightworthy.integration.features.state import GroupState, Ints

_AT_ONCE = 8192  # remembered events: whoever changes entities waits for so many at most


class Still:
    """Of one group. `keep` is for the thread that changes it, before it does; `packed` for any."""

    def __init__(self, group: GroupState) -> None:
        count = int(group.count[0])
        self._group, self._lock = group, threading.Lock()
        sizes = group.headers[:count, NEXT] - group.headers[:count, OLDEST]
        self._starts: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        self._kept = np.zeros(count, np.bool_)
        self._headers = np.empty((count, group.plan.header_width), np.int64)
        self._entries = np.empty((int(self._starts[-1]), group.plan.entry_width), np.int64)

    def keep(self, keys: Ints) -> None:
        """Copy the entities of these keys as far as they are not copied yet."""
        group = self._group
        with self._lock:
            kernel.keep_keys(group.table, group.headers, group.arena, keys, self._kept, self._starts, self._headers,
                             self._entries)

    def packed(self) -> tuple[Ints, Ints]:
        """Headers (entities, w) and remembered events (n, e), in order of entity and time: the logical content, whatever the
        layout in memory."""
        first, count = 0, len(self._kept)
        while first < count:
            stop = int(np.searchsorted(self._starts, self._starts[first] + _AT_ONCE))
            stop = min(max(first + 1, stop), count)
            with self._lock:  # what is not copied yet has not changed, wherever the group keeps it by now
                kernel.keep_range(self._group.headers, self._group.arena, first, stop, self._kept, self._starts, self._headers,
                                  self._entries)
            first = stop
        return self._headers, self._entries
