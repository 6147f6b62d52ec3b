"""One pass over rows in arrival order: events update their entity and read its features, outcomes correct the past.

The same function serves training history, batches and single events; state only depends on the order of rows, never
on how they were cut into batches. What each operation means is written in docs/features.md.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from flightworthy.integration.features.rings import (
    _INNER,
    _OPTIONS,
    CAPACITY,
    DISTINCT,
    FIRST,
    MAX,
    MIN,
    MIN_CAPACITY,
    NEVER,
    NEXT,
    OFFSET,
    OLDEST,
    SQUARE,
    SUM,
    WINDOWS,
    add_to,
    create,
    extreme,
    find,
    insert,
    make_room,
    slide,
    slip_in,
    slot,
    square,
    take,
    upper_bound,
)

EVENT, OUTCOME = 0, 1
AHEAD = 64
COUNT, N, TOTAL, MEAN, LOWEST, HIGHEST, STD, NUNIQUE, LAST, SINCE_LAST, AGE = range(11)


@njit(**_OPTIONS)
def advance(start, kinds, times, sequences, keys, values, label, out, table, H, HF, A, AF, count, arena, free,
            windows, accumulators, spans, outputs, scales, horizon, limit):
    """Apply rows ``start…`` to one group; returns the row it stopped before when memory must grow, else their number.

    kinds (n) EVENT or OUTCOME · times (n) event time in microseconds · sequences (n) of the event, or of the event an
    outcome belongs to · keys (n) · values (n, fields) of events · label (n) new label of outcome rows · out
    (n, outputs) receives the features of event rows. ``count[0]`` is the number of entities.
    """
    label_column = values.shape[1]
    near = np.empty(AHEAD + 1, np.int64)
    for row in range(start, kinds.shape[0]):
        place_ahead = (row - start) % AHEAD
        if place_ahead == 0:
            look_ahead(row, keys, table, H, A, windows, near)
        e = near[place_ahead]
        if e < 0:
            e = find(table, H, keys[row])
        if kinds[row] == OUTCOME:
            if e >= 0:
                correct(H, HF, A, AF, e, times[row], sequences[row], label[row], label_column, windows, accumulators,
                        spans)
            continue
        if e < 0:
            if count[0] >= H.shape[0] or 2 * count[0] >= table.shape[0]:
                return row
            offset = take(MIN_CAPACITY, A, arena, free)
            if offset < 0:
                return row
            e = count[0]
            create(H, e, keys[row], offset)
            insert(table, e, keys[row])
            count[0] += 1
        if not make_room(H, HF, A, AF, e, windows, accumulators, spans, horizon, limit, arena, free):
            return row
        late = H[e, NEXT] > H[e, OLDEST] and times[row] < A[slot(H, e, H[e, NEXT] - 1), 0]
        H[e, FIRST] = min(H[e, FIRST], times[row])
        position = place(H, A, AF, e, times[row], sequences[row], values, row, label[row], late)
        if late:
            read_late(H, A, AF, e, times[row], position, windows, outputs, scales, out, row)
            slip_in(H, HF, A, AF, e, position, windows, accumulators, spans)
        else:
            slide(H, HF, A, AF, e, times[row], windows, accumulators, spans)
            read(H, HF, A, AF, e, times[row], position, windows, accumulators, outputs, scales, out, row)
    return kinds.shape[0]


@njit(**_INNER)
def look_ahead(row, keys, table, H, A, windows, near):
    """Entities of the next rows (-1: new), and a first touch of all memory they will need: these reads do not depend on
    each other, so that the processor waits for many of them at once instead of one after the other."""
    stop = min(AHEAD, keys.shape[0] - row)
    touched = 0
    for i in range(stop):
        e = find(table, H, keys[row + i])
        near[i] = e
        if e >= 0:
            for c in range(0, H.shape[1], 8):
                touched ^= H[e, c]
    for i in range(stop):
        e = near[i]
        if e >= 0:
            for w in range(windows.shape[0]):
                touched ^= A[slot(H, e, H[e, WINDOWS + 2 * w]), 0]
                if windows[w, 2] > 0:
                    touched ^= A[slot(H, e, H[e, WINDOWS + 2 * w + 1]), 0]
            touched ^= A[slot(H, e, H[e, NEXT]), 0]
    near[AHEAD] = touched  # keeps the reads in the program


@njit(**_INNER)
def place(H, A, AF, e, t, sequence, values, row, label, late):
    """Put an event into the ring in order of time, after those of the same time; returns its position."""
    position = upper_bound(H, A, e, t) if late else H[e, NEXT]
    for p in range(H[e, NEXT], position, -1):
        A[slot(H, e, p), :] = A[slot(H, e, p - 1), :]
    H[e, NEXT] += 1
    at = slot(H, e, position)
    A[at, 0] = t
    A[at, 1] = sequence
    for c in range(values.shape[1]):
        AF[at, 2 + c] = values[row, c]
    AF[at, 2 + values.shape[1]] = label
    return position


@njit(**_INNER)
def read(H, HF, A, AF, e, now, position, windows, accumulators, outputs, scales, out, row):
    """Features of the newest event from the running sums."""
    w = windows.shape[0]
    for o in range(outputs.shape[0]):
        op, i, a, b = outputs[o, 0], outputs[o, 1], outputs[o, 2], outputs[o, 3]
        at = WINDOWS + 2 * w + 4 * a
        if op == COUNT:
            out[row, o] = H[e, WINDOWS + 2 * i + 1] - H[e, WINDOWS + 2 * i]
        elif op == N or op == NUNIQUE:
            out[row, o] = HF[e, at]
        elif op == TOTAL or op == MEAN or op == STD:
            squares = WINDOWS + 2 * w + 4 * b
            out[row, o] = moment(op, HF[e, at], HF[e, at + 1], HF[e, at + 2], HF[e, squares] if op == STD else 0.0,
                            HF[e, squares + 1] if op == STD else 0.0, scales[o])
        elif op == LOWEST or op == HIGHEST:
            if HF[e, at + 1] == 1.0:
                HF[e, at] = extreme(H, AF, e, accumulators[a, 2], accumulators[a, 1], H[e, WINDOWS + 2 * i],
                                    H[e, WINDOWS + 2 * i + 1])
                HF[e, at + 1] = 0.0
            out[row, o] = HF[e, at] / scales[o] if HF[e, at + 2] > 0.0 else math.nan
        else:
            out[row, o] = pointwise(H, A, AF, e, op, i, now, position, scales[o])


@njit(**_INNER)
def pointwise(H, A, AF, e, op, column, now, position, scale):
    if op == AGE:
        return (now - H[e, FIRST]) / 1e6
    if position <= H[e, OLDEST]:
        return math.nan
    before = slot(H, e, position - 1)
    return (now - A[before, 0]) / 1e6 if op == SINCE_LAST else AF[before, 2 + column] / scale


@njit(**_INNER)
def moment(op, n, hi, lo, square_hi, square_lo, scale):
    """Sum, mean or sample standard deviation from n, the sum and the sum of squares (double-doubles)."""
    if op == TOTAL:
        return (hi + lo) / scale if n > 0.0 else 0.0
    if n == 0.0:
        return math.nan
    if op == MEAN:
        return (hi + lo) / (n * scale)
    if n < 2.0:
        return math.nan
    # n·Σx² − (Σx)², carried in pairs: the difference cancels most digits.
    p, p_err = product(n, square_hi)
    q, q_err = square(hi)
    top, err = p - q, (p_err - q_err) + n * square_lo - 2.0 * hi * lo
    bb = top - p
    err += (p - (top - bb)) + (-q - bb)
    spread = max(0.0, top + err) / (n * (n - 1.0))
    return math.sqrt(spread) / scale


@njit(**_INNER)
def product(a, b):
    p = a * b
    c = 134217729.0 * a
    ah = c - (c - a)
    al = a - ah
    c = 134217729.0 * b
    bh = c - (c - b)
    bl = b - bh
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


@njit(**_OPTIONS)
def read_late(H, A, AF, e, t, position, windows, outputs, scales, out, row):
    """Features of an event older than the newest: as of its own time, by a scan of the ring."""
    for o in range(outputs.shape[0]):
        op, i, column, kind = outputs[o, 0], outputs[o, 1], outputs[o, 4], outputs[o, 5]
        if op >= LAST:
            out[row, o] = pointwise(H, A, AF, e, op, i, t, position, scales[o])
            continue
        stop = upper_bound(H, A, e, t - windows[i, 2])
        if windows[i, 0] == 1:
            start = max(H[e, OLDEST], stop - windows[i, 1])
        else:
            start = upper_bound(H, A, e, t - windows[i, 2] - windows[i, 1])
        out[row, o] = scan(H, AF, e, op, column, kind, start, stop, scales[o])


@njit(**_OPTIONS)
def scan(H, AF, e, op, column, kind, start, stop, scale):
    if op == COUNT:
        return float(stop - start)
    if op == LOWEST or op == HIGHEST:
        return extreme(H, AF, e, kind, column, start, stop) / scale
    sums = np.zeros((1, 5))
    n = 0.0
    unique = 0.0
    for p in range(start, stop):
        v = AF[slot(H, e, p), 2 + column]
        if math.isnan(v):
            continue
        n += 1.0
        add_to(sums, 0, 0, v)
        hi, lo = square(v)
        add_to(sums, 0, 2, hi)
        add_to(sums, 0, 2, lo)
        if op == NUNIQUE:
            repeated = False
            for q in range(start, p):
                if AF[slot(H, e, q), 2 + column] == v:
                    repeated = True
                    break
            unique += 0.0 if repeated else 1.0
    if op == N:
        return n
    if op == NUNIQUE:
        return unique
    return moment(op, n, sums[0, 0], sums[0, 1], sums[0, 2], sums[0, 3], scale)


@njit(**_OPTIONS)
def correct(H, HF, A, AF, e, t, sequence, label, column, windows, accumulators, spans):
    """An outcome arrives or is corrected: give its event the new label wherever it still counts."""
    position = upper_bound(H, A, e, t) - 1
    while position >= H[e, OLDEST] and A[slot(H, e, position), 0] == t and A[slot(H, e, position), 1] != sequence:
        position -= 1
    if position < H[e, OLDEST] or A[slot(H, e, position), 0] != t:
        return
    at = slot(H, e, position)
    old = AF[at, 2 + column]
    if old == label or (math.isnan(old) and math.isnan(label)):
        return
    w = windows.shape[0]
    for i in range(w):
        if not H[e, WINDOWS + 2 * i] <= position < H[e, WINDOWS + 2 * i + 1]:
            continue
        for a in range(spans[i], spans[i + 1]):
            if accumulators[a, 1] == column:
                change(H, HF, e, WINDOWS + 2 * w + 4 * a, accumulators[a, 2], old, label)
    AF[at, 2 + column] = label


@njit(**_OPTIONS)
def change(H, HF, e, at, kind, old, new):
    if kind == SUM:
        if not math.isnan(old):
            HF[e, at] -= 1.0
            add_to(HF, e, at + 1, -old)
        if not math.isnan(new):
            HF[e, at] += 1.0
            add_to(HF, e, at + 1, new)
    elif kind == SQUARE:
        for v, sign in ((old, -1.0), (new, 1.0)):
            if not math.isnan(v):
                hi, lo = square(v)
                add_to(HF, e, at, sign * hi)
                add_to(HF, e, at, sign * lo)
    else:
        HF[e, at + 2] += (0.0 if math.isnan(new) else 1.0) - (0.0 if math.isnan(old) else 1.0)
        HF[e, at + 1] = 1.0


@njit(**_OPTIONS)
def rehash(table, H, count):
    for e in range(count):
        insert(table, e, H[e, 0])


@njit(**_INNER)
def keep(H, A, e, starts, headers, entries):
    """Copy the header and the ring of an entity to their place without gaps."""
    headers[e, :] = H[e, :]
    headers[e, OFFSET] = 0
    at = starts[e]
    for p in range(H[e, OLDEST], H[e, NEXT]):
        entries[at, :] = A[slot(H, e, p), :]
        at += 1


@njit(**_OPTIONS)
def keep_range(H, A, first, stop, kept, starts, headers, entries):
    """Copy entities ``first…stop`` that are not copied yet."""
    for e in range(first, stop):
        if not kept[e]:
            keep(H, A, e, starts, headers, entries)
            kept[e] = True


@njit(**_OPTIONS)
def keep_keys(table, H, A, keys, kept, starts, headers, entries):
    """Copy the entities of these keys that are not copied yet, but none that are newer than the copy."""
    for row in range(keys.shape[0]):
        e = find(table, H, keys[row])
        if 0 <= e < kept.shape[0] and not kept[e]:
            keep(H, A, e, starts, headers, entries)
            kept[e] = True


@njit(**_OPTIONS)
def unpack(H, A, count, entries):
    """The inverse of `pack` into a fresh arena; returns its top."""
    top = 0
    read_at = 0
    for e in range(count):
        H[e, 2] = top
        for p in range(H[e, OLDEST], H[e, NEXT]):
            A[slot(H, e, p), :] = entries[read_at, :]
            read_at += 1
        top += H[e, CAPACITY]
    return top


__all__ = [
    "AGE",
    "COUNT",
    "DISTINCT",
    "EVENT",
    "HIGHEST",
    "LAST",
    "LOWEST",
    "MAX",
    "MEAN",
    "MIN",
    "NEVER",
    "NUNIQUE",
    "OUTCOME",
    "SINCE_LAST",
    "SQUARE",
    "STD",
    "SUM",
    "TOTAL",
    "N",
    "advance",
    "keep_keys",
    "keep_range",
    "rehash",
    "unpack",
]
