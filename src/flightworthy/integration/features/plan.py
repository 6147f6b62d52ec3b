"""A pilot's features compiled to flat tables the kernel walks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flightworthy.integration.features import kernel as k
from flightworthy.manifest.columns import Column, Window
from flightworthy.manifest.columns import window as parse_window
from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import Manifest

Table = NDArray[np.int64]
_OPS = {"sum": k.TOTAL, "mean": k.MEAN, "min": k.LOWEST, "max": k.HIGHEST, "std": k.STD, "distinct": k.NUNIQUE,
        "last": k.LAST, "since_last": k.SINCE_LAST, "age": k.AGE}
_NEEDS = {"sum": (k.SUM,), "mean": (k.SUM,), "count": (k.SUM,), "std": (k.SUM, k.SQUARE), "min": (k.MIN,),
          "max": (k.MAX,), "distinct": (k.DISTINCT,)}


@dataclass(frozen=True)
class GroupPlan:
    """One group's tables. ``fields`` are the event fields it keeps; the label is its last, extra column."""

    name: str
    key: tuple[str, ...]
    fields: tuple[str, ...]
    columns: tuple[Column, ...]
    windows: Table  # (w, 4): by events?, length, delay, how far behind the newest event a window may still end
    accumulators: Table  # (a, 3): window, column, kind, sorted by window
    spans: Table  # (w + 1): accumulators of window i are spans[i]:spans[i + 1]
    outputs: Table  # (o, 6): operation, window or column, accumulator, second accumulator, column, kind
    scales: NDArray[np.float64]  # (o): units per stored unit
    horizon: int
    limit: int

    @property
    def header_width(self) -> int:
        """8-byte slots of an entity's header."""
        return 7 + 2 * len(self.windows) + 4 * len(self.accumulators)

    @property
    def entry_width(self) -> int:
        """8-byte slots of one remembered event."""
        return 3 + len(self.fields)

    @property
    def most_bytes(self) -> int:
        """Upper bound of the memory one entity can take, in bytes."""
        return 8 * (self.header_width + self.entry_width * self.limit) + 16


def compile_groups(pilot: Pilot) -> tuple[GroupPlan, ...]:
    """One plan for each group of features, in the order of the manifest."""
    return tuple(_group(pilot.manifest, name, [c for c in pilot.columns if c.group == name])
                 for name in pilot.manifest.features.groups)


def scale_of(manifest: Manifest, field: str) -> float:
    """Decimals are stored in minor units; other fields as they are."""
    spec = manifest.events.fields.get(field)
    return float(10 ** (2 if spec.scale is None else spec.scale)) if spec and spec.type == "decimal" else 1.0


def _group(manifest: Manifest, name: str, columns: Sequence[Column]) -> GroupPlan:
    group = manifest.features.groups[name]
    label = manifest.outcomes.label
    spans_of = [parse_window(text) for text in group.windows]
    fields = tuple(dict.fromkeys(c.aggregate.field for c in columns if c.aggregate.field not in (None, label)))
    index: dict[str | None, int] = {**{field: i for i, field in enumerate(fields)}, label: len(fields)}
    accumulators: list[tuple[int, int, int]] = []
    for i, window in enumerate(spans_of):
        wanted = [(index[c.aggregate.field], kind) for c in columns
                  if c.window == window and c.aggregate.field is not None for kind in _NEEDS[c.aggregate.op]]
        accumulators += [(i, column, kind) for column, kind in dict.fromkeys(wanted)]
    outputs = [_output(c, spans_of, index, accumulators) for c in columns]
    entities = [name] if group.by is None else group.by
    length = max((w.length for w in spans_of if not w.events), default=0)
    bounds = np.searchsorted([a[0] for a in accumulators], np.arange(len(spans_of) + 1))
    return GroupPlan(
        name, tuple(manifest.events.entities[e] for e in entities), tuple(str(f) for f in fields), tuple(columns),
        np.array([(int(w.events), w.length, group.delay, group.delay + manifest.events.lateness) for w in spans_of],
                 np.int64).reshape(-1, 4),
        np.array(accumulators, np.int64).reshape(-1, 3), bounds.astype(np.int64),
        np.array(outputs, np.int64).reshape(-1, 6),
        np.array([_scale(manifest, c) for c in columns], np.float64),
        length + group.delay + manifest.events.lateness, group.limit)


def _scale(manifest: Manifest, column: Column) -> float:
    field, op = column.aggregate.field, column.aggregate.op
    return scale_of(manifest, field) if field is not None and op not in ("distinct", "count") else 1.0


def _output(column: Column, spans: list[Window], index: dict[str | None, int],
            accumulators: list[tuple[int, int, int]]) -> tuple[int, int, int, int, int, int]:
    op, field = column.aggregate.op, column.aggregate.field
    at = index[field] if field is not None else 0
    if column.window is None:
        return _OPS[op], at, 0, 0, at, 0
    i = spans.index(column.window)
    if op == "count" and field is None:
        return k.COUNT, i, 0, 0, 0, 0
    kinds = _NEEDS[op]
    first = accumulators.index((i, at, kinds[0]))
    second = accumulators.index((i, at, kinds[-1]))
    return _OPS.get(op, k.N), i, first, second, at, kinds[0]
