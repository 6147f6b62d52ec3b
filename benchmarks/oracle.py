"""An independent answer to "what are the features?": SQL over the whole history, by brute force.

For the event at position p of the arrivals, only what arrived up to p counts; windows follow event time; a label is the
latest outcome that arrived before p, else what absence means. Nothing here is shared with the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

_SQL = {"count": "count(*)", "n": "count({f})", "sum": "coalesce(sum({f}), 0)", "mean": "sum({f}) / count({f})",
        "min": "min({f})", "max": "max({f})", "std": "stddev_samp({f})", "distinct": "count(DISTINCT {f})"}


@dataclass(frozen=True)
class Ask:
    """One windowed feature: ``length`` microseconds, or events when ``events``."""

    op: str
    field: str
    length: int
    events: bool = False
    delay: int = 0


class Oracle:
    """Arrivals as tables. ``events``: (position, time, key, values…); ``outcomes``: (position, event position, label)."""

    def __init__(self, events: dict[str, Any], outcomes: dict[str, Any], absent: float | None) -> None:
        self.db = duckdb.connect()
        self.absent = "NULL" if absent is None else repr(float(absent))
        self._table("e", events)
        self._table("o", outcomes)

    def _table(self, name: str, columns: dict[str, Any]) -> None:
        arrays = {key: np.asarray(value) for key, value in columns.items()}
        self.db.execute(f"CREATE TABLE {name} ({', '.join(f'{k} {_type(v)}' for k, v in arrays.items())})")
        if len(next(iter(arrays.values()))):
            rows = list(zip(*(_plain(v) for v in arrays.values()), strict=True))
            self.db.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(arrays))})", rows)

    def ask(self, ask: Ask, positions: Sequence[int] | None = None) -> list[float | None]:
        """The feature for events at these positions (all when None), in order of position."""
        picked = "" if positions is None else f"WHERE a.position IN ({','.join(map(str, positions))})"
        # b: what the event a can see, newest first
        sql = f"""
        WITH b AS (
          SELECT a.position AS p, b.*, row_number() OVER (PARTITION BY a.position ORDER BY b.time DESC, b.position DESC)
                 AS rank,
                 coalesce((SELECT arg_max(o.label, o.position) FROM o WHERE o.event = b.position AND o.position <
                 a.position), {self.absent}) AS label, a.time AS now
          FROM e AS a JOIN e AS b ON b.key = a.key AND b.position <= a.position AND b.time <= a.time - {ask.delay}
          {picked}),
        inside AS (SELECT * FROM b WHERE {f'rank <= {ask.length}' if ask.events else f'time > now - {ask.delay + ask.length}'})
        SELECT {_SQL[ask.op].format(f='inside.' + ask.field)} FROM e AS a LEFT JOIN inside ON inside.p = a.position
        {picked} GROUP BY a.position ORDER BY a.position"""
        if ask.op == "count":
            sql = sql.replace("count(*)", "count(inside.p)")
        return [row[0] for row in self.db.execute(sql).fetchall()]

    def before(self, field: str) -> list[tuple[float | None, float | None, float]]:
        """For every event: value of the previous event, seconds since it, seconds since the first event seen."""
        return self.db.execute(f"""
        SELECT (SELECT b.{field} FROM e AS b WHERE b.key = a.key AND b.position < a.position AND b.time <= a.time
                ORDER BY b.time DESC, b.position DESC LIMIT 1),
               (a.time - (SELECT max(b.time) FROM e AS b WHERE b.key = a.key AND b.position < a.position AND
                b.time <= a.time)) / 1e6,
               (a.time - (SELECT min(b.time) FROM e AS b WHERE b.key = a.key AND b.position <= a.position)) / 1e6
        FROM e AS a ORDER BY a.position""").fetchall()


def _type(array: Any) -> str:
    return "BIGINT" if array.dtype.kind in "iu" else "DOUBLE"


def _plain(array: Any) -> list[Any]:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in array.tolist()]
