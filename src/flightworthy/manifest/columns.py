"""Feature columns: what a manifest's groups, windows and aggregates name, one column each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flightworthy.ground.clock import duration

_CALL = re.compile(r"\s*([a-z_]+)\(\s*([A-Za-z][A-Za-z0-9_]*)?\s*\)\s*")
_EVENTS = re.compile(r"(\d+)\s*events?")
WINDOWED = ("count", "sum", "mean", "min", "max", "std", "distinct")
POINTWISE = ("last", "since_last", "age")
NO_FIELD = ("since_last", "age")
MAX_EVENTS = 1 << 20


@dataclass(frozen=True)
class Window:
    """The last ``length`` microseconds (``events`` False) or the last ``length`` events (True)."""

    length: int
    events: bool
    suffix: str


@dataclass(frozen=True)
class Aggregate:
    """An operation over one field, or over none (`count`, `since_last`, `age`)."""

    op: str
    field: str | None


@dataclass(frozen=True)
class Column:
    """One feature: ``name`` is ``group.aggregate`` or ``group.aggregate_window``."""

    name: str
    group: str
    aggregate: Aggregate
    window: Window | None


def window(text: str) -> Window:
    """Parse ``7d`` or ``10 events``. Raises `ValueError` with what would be right.

    >>> window("10 events").suffix
    '10e'
    """
    match = _EVENTS.fullmatch(text.strip())
    if match:
        length = int(match.group(1))
        if not 1 <= length <= MAX_EVENTS:
            raise ValueError(f"a window holds 1 to {MAX_EVENTS} events")
        return Window(length, True, f"{length}e")
    length = duration(text)
    if length == 0:
        raise ValueError("a window cannot be empty")
    return Window(length, False, re.sub(r"\s+", "", text).replace(".", "p"))


def aggregate(text: str) -> Aggregate:
    """Parse ``mean(amount)``. Raises `ValueError` naming the operations there are.

    >>> aggregate("mean(amount)")
    Aggregate(op='mean', field='amount')
    """
    match = _CALL.fullmatch(text)
    known = ", ".join((*WINDOWED, *POINTWISE))
    if match is None:
        raise ValueError(f"write an operation of a field, such as mean(amount); operations: {known}")
    op, field = match.groups()
    if op not in WINDOWED and op not in POINTWISE:
        raise ValueError(f"unknown operation '{op}'; operations: {known}")
    if op in NO_FIELD and field is not None:
        raise ValueError(f"{op}() takes no field")
    if op not in NO_FIELD and op != "count" and field is None:
        raise ValueError(f"{op}() needs a field")
    return Aggregate(op, field)


def columns_of(name: str, windows: list[Window], aggregates: dict[str, Aggregate]) -> list[Column]:
    """The columns of one group in their order: windowed ones by window, then those that need none."""
    out = [Column(f"{name}.{agg_name}_{span.suffix}", name, agg, span)
           for span in windows for agg_name, agg in aggregates.items() if agg.op in WINDOWED]
    out += [Column(f"{name}.{agg_name}", name, agg, None)
            for agg_name, agg in aggregates.items() if agg.op in POINTWISE]
    return out
