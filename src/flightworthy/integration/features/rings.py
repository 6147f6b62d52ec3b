"""What an entity remembers: a ring of its newest events in one arena, and running sums over windows of that ring.

Header of an entity, 8-byte slots seen as integers (H) and as floats (HF) of the same memory::

    0 key · 1 first event time · 2 arena offset · 3 capacity · 4 oldest position · 5 next position · 6 dropped
    then per window:      tail, lead        positions [tail, lead) are inside the window
    then per accumulator: 4 slots           SUM n hi lo · SQUARE hi lo · MIN/MAX value stale · DISTINCT n

Positions count events of the entity and only grow; position p lives in slot ``offset + (p & (capacity - 1))``. An arena
slot holds time, sequence number, then the values (NaN = null), seen as integers (A) and floats (AF).

Sums are kept in double-double arithmetic (Dekker 1971; error-free two-sum and product), so that adding and removing
values leaves no drift: sums of integers (money in minor units) are exact, others correct to about 2^-100 relative.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

KEY, FIRST, OFFSET, CAPACITY, OLDEST, NEXT, DROPPED, WINDOWS = range(8)
SUM, SQUARE, MIN, MAX, DISTINCT = range(5)
MIN_CAPACITY = 4
NEVER = np.iinfo(np.int64).max
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}
_INNER = {**_OPTIONS, "forceinline": True}  # arrays travel as many words each: a call costs more than most of these do


@njit(**_INNER)
def two_sum(a, b):
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@njit(**_INNER)
def square(a):
    """a*a as an unevaluated sum of two doubles (Veltkamp split, no fused multiply-add)."""
    p = a * a
    c = 134217729.0 * a
    high = c - (c - a)
    low = a - high
    return p, ((high * high - p) + 2.0 * high * low) + low * low


@njit(**_INNER)
def add_to(HF, e, at, v):
    """Add v to the double-double in slots at, at+1."""
    s, err = two_sum(HF[e, at], v)
    err += HF[e, at + 1]
    hi = s + err
    HF[e, at] = hi
    HF[e, at + 1] = err - (hi - s)


@njit(**_INNER)
def slot(H, e, position):
    return H[e, OFFSET] + (position & (H[e, CAPACITY] - 1))


@njit(**_INNER)
def find(table, H, key):
    """Entity of a key, or -1. Open addressing, linear probing; the table holds entity + 1."""
    mask = table.shape[0] - 1
    i = mix(key) & mask
    while table[i] != 0:
        if H[table[i] - 1, KEY] == key:
            return table[i] - 1
        i = (i + 1) & mask
    return -1


@njit(**_INNER)
def mix(key):
    """SplitMix64 finaliser (Steele, Lea, Flood 2014)."""
    z = np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(1))


@njit(**_OPTIONS)
def insert(table, entity, key):
    mask = table.shape[0] - 1
    i = mix(key) & mask
    while table[i] != 0:
        i = (i + 1) & mask
    table[i] = entity + 1


@njit(**_OPTIONS)
def create(H, e, key, offset):
    H[e, :] = 0
    H[e, KEY] = key
    H[e, FIRST] = NEVER
    H[e, OFFSET] = offset
    H[e, CAPACITY] = MIN_CAPACITY


@njit(**_INNER)
def enter(H, HF, AF, e, at, kind, column, position, tail, lead):
    """An event enters a window: bring one accumulator up to date."""
    v = AF[slot(H, e, position), 2 + column]
    if math.isnan(v):
        return
    if kind == SUM:
        HF[e, at] += 1.0
        add_to(HF, e, at + 1, v)
    elif kind == SQUARE:
        hi, lo = square(v)
        add_to(HF, e, at, hi)
        add_to(HF, e, at, lo)
    elif kind == DISTINCT:
        if not (holds(H, AF, e, column, v, tail, position) or holds(H, AF, e, column, v, position + 1, lead)):
            HF[e, at] += 1.0
    elif HF[e, at + 1] == 0.0:
        if HF[e, at + 2] == 0.0:
            HF[e, at] = v
        elif kind == MIN:
            HF[e, at] = min(HF[e, at], v)
        else:
            HF[e, at] = max(HF[e, at], v)
        HF[e, at + 2] += 1.0
    else:
        HF[e, at + 2] += 1.0


@njit(**_INNER)
def leave(H, HF, AF, e, at, kind, column, position, lead):
    """The oldest event leaves a window."""
    v = AF[slot(H, e, position), 2 + column]
    if math.isnan(v):
        return
    if kind == SUM:
        HF[e, at] -= 1.0
        if HF[e, at] == 0.0:
            HF[e, at + 1] = HF[e, at + 2] = 0.0
        else:
            add_to(HF, e, at + 1, -v)
    elif kind == SQUARE:
        hi, lo = square(v)
        add_to(HF, e, at, -hi)
        add_to(HF, e, at, -lo)
    elif kind == DISTINCT:
        if not holds(H, AF, e, column, v, position + 1, lead):
            HF[e, at] -= 1.0
    else:
        HF[e, at + 2] -= 1.0
        if HF[e, at + 2] == 0.0:
            HF[e, at + 1] = 0.0
        elif HF[e, at] == v:
            HF[e, at + 1] = 1.0


@njit(**_OPTIONS)
def holds(H, AF, e, column, v, start, stop):
    """Whether a value stands at positions [start, stop); newest first, where a repetition is likeliest."""
    for p in range(stop - 1, start - 1, -1):
        if AF[slot(H, e, p), 2 + column] == v:
            return True
    return False


@njit(**_OPTIONS)
def extreme(H, AF, e, kind, column, start, stop):
    best = math.nan
    for p in range(start, stop):
        v = AF[slot(H, e, p), 2 + column]
        if not math.isnan(v) and (math.isnan(best) or (v < best if kind == MIN else v > best)):
            best = v
    return best


@njit(**_OPTIONS)
def upper_bound(H, A, e, t):
    """First position whose time is after t."""
    lo = H[e, OLDEST]
    hi = H[e, NEXT]
    while lo < hi:
        mid = (lo + hi) >> 1
        if A[slot(H, e, mid), 0] <= t:
            lo = mid + 1
        else:
            hi = mid
    return lo


@njit(**_INNER)
def slide(H, HF, A, AF, e, now, windows, accumulators, spans):
    """Move every window of an entity up to event time ``now`` (the newest time of its ring, or later)."""
    w = windows.shape[0]
    for i in range(w):
        by_events = windows[i, 0] == 1
        end = now - windows[i, 2]
        tail = H[e, WINDOWS + 2 * i]
        lead = H[e, WINDOWS + 2 * i + 1]
        while lead < H[e, NEXT] and (windows[i, 2] == 0 or A[slot(H, e, lead), 0] <= end):
            for a in range(spans[i], spans[i + 1]):
                enter(H, HF, AF, e, WINDOWS + 2 * w + 4 * a, accumulators[a, 2], accumulators[a, 1], lead, tail, lead)
            lead += 1
        while tail < lead and (lead - tail > windows[i, 1] if by_events
                               else A[slot(H, e, tail), 0] <= end - windows[i, 1]):
            for a in range(spans[i], spans[i + 1]):
                leave(H, HF, AF, e, WINDOWS + 2 * w + 4 * a, accumulators[a, 2], accumulators[a, 1], tail, lead)
            tail += 1
        H[e, WINDOWS + 2 * i] = tail
        H[e, WINDOWS + 2 * i + 1] = lead


@njit(**_OPTIONS)
def slip_in(H, HF, A, AF, e, position, windows, accumulators, spans):
    """An event older than the newest was placed at ``position``: give it to the windows that should hold it."""
    w = windows.shape[0]
    t = A[slot(H, e, position), 0]
    newest = A[slot(H, e, H[e, NEXT] - 1), 0]
    for i in range(w):
        tail = H[e, WINDOWS + 2 * i]
        lead = H[e, WINDOWS + 2 * i + 1]
        if t > newest - windows[i, 2]:
            continue
        lead += 1
        if position < tail or (windows[i, 0] == 0 and t <= newest - windows[i, 2] - windows[i, 1]):
            tail += 1
        else:
            for a in range(spans[i], spans[i + 1]):
                enter(H, HF, AF, e, WINDOWS + 2 * w + 4 * a, accumulators[a, 2], accumulators[a, 1], position, tail, lead)
            while windows[i, 0] == 1 and lead - tail > windows[i, 1]:
                for a in range(spans[i], spans[i + 1]):
                    leave(H, HF, AF, e, WINDOWS + 2 * w + 4 * a, accumulators[a, 2], accumulators[a, 1], tail, lead)
                tail += 1
        H[e, WINDOWS + 2 * i] = tail
        H[e, WINDOWS + 2 * i + 1] = lead


@njit(**_OPTIONS)
def drop_oldest(H, HF, AF, e, windows, accumulators, spans):
    """Forget the oldest event; windows that still held it lose it."""
    w = windows.shape[0]
    position = H[e, OLDEST]
    for i in range(w):
        if H[e, WINDOWS + 2 * i] <= position:
            if H[e, WINDOWS + 2 * i + 1] > position:
                for a in range(spans[i], spans[i + 1]):
                    leave(H, HF, AF, e, WINDOWS + 2 * w + 4 * a, accumulators[a, 2], accumulators[a, 1], position,
                          H[e, WINDOWS + 2 * i + 1])
            else:
                H[e, WINDOWS + 2 * i + 1] = position + 1
            H[e, WINDOWS + 2 * i] = position + 1
    H[e, OLDEST] = position + 1


@njit(**_INNER)
def make_room(H, HF, A, AF, e, windows, accumulators, spans, horizon, limit, arena, free):
    """Make sure one more event fits. False when the arena must grow first (nothing has changed then).

    Events no window can need any more are forgotten; else the ring doubles; at its limit the oldest is dropped.
    """
    capacity = H[e, CAPACITY]
    while H[e, NEXT] - H[e, OLDEST] >= capacity and forgettable(H, A, e, windows, horizon):
        H[e, OLDEST] += 1
    if H[e, NEXT] - H[e, OLDEST] < capacity:
        return True
    if capacity >= limit:
        drop_oldest(H, HF, AF, e, windows, accumulators, spans)
        H[e, DROPPED] += 1
        return True
    return grow(H, A, e, arena, free)


@njit(**_INNER)
def forgettable(H, A, e, windows, horizon):
    """Whether the oldest event lies before every window, also those of the latest event that may still come."""
    position = H[e, OLDEST]
    if A[slot(H, e, position), 0] > A[slot(H, e, H[e, NEXT] - 1), 0] - horizon or position >= H[e, NEXT] - 1:
        return False
    newest = A[slot(H, e, H[e, NEXT] - 1), 0]
    for i in range(windows.shape[0]):
        if H[e, WINDOWS + 2 * i] <= position:
            return False
        # A window of N events that ends at a late event wants N of them before it.
        if windows[i, 0] == 1 and upper_bound(H, A, e, newest - windows[i, 3]) - (position + 1) < windows[i, 1]:
            return False
    return True


@njit(**_OPTIONS)
def take(capacity, A, arena, free):
    """Offset of an unused chunk, or -1 when the arena must grow first.

    ``free[k]`` heads a list of chunks of 2^k slots, linked through their first slot; ``arena[0]`` is the top.
    """
    k = 0
    while (1 << k) < capacity:
        k += 1
    offset = free[k]
    if offset >= 0:
        free[k] = A[offset, 0]
        return offset
    if arena[0] + capacity > A.shape[0]:
        return -1
    arena[0] += capacity
    return arena[0] - capacity


@njit(**_OPTIONS)
def grow(H, A, e, arena, free):
    """Double the ring of an entity; False when the arena must grow first."""
    old = H[e, CAPACITY]
    offset = take(2 * old, A, arena, free)
    if offset < 0:
        return False
    for p in range(H[e, OLDEST], H[e, NEXT]):
        A[offset + (p & (2 * old - 1)), :] = A[slot(H, e, p), :]
    k = 0
    while (1 << k) < old:
        k += 1
    A[H[e, OFFSET], 0] = free[k]
    free[k] = H[e, OFFSET]
    H[e, OFFSET] = offset
    H[e, CAPACITY] = 2 * old
    return True
