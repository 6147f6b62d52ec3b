"""The pilot's sixteen inputs from a list of a card's earlier payments, in plain Python: what the peers compute in their state."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

DAY = 86_400
WINDOWS = (1, 7, 30)
DELAY = 7


def inputs(event: dict[str, Any], past: list[list[float]]) -> list[float]:
    """The model's inputs; ``past``: seconds and amount of each payment within 37 days, to which this one is added."""
    at = datetime.fromisoformat(event["tx_time"]).replace(tzinfo=UTC).timestamp()
    amount = float(event["amount"])
    past.append([at, amount])
    while past[0][0] <= at - (DELAY + WINDOWS[-1]) * DAY:
        past.pop(0)
    out: list[float] = []
    for days in WINDOWS:
        inside = [worth for when, worth in past if when > at - days * DAY]
        out += [len(inside), sum(inside) / len(inside)]
    mean = out[5]
    end = at - DELAY * DAY
    for days in WINDOWS:
        known = sum(1 for when, _ in past if end - days * DAY < when <= end)
        out += [known, 0.0 if known else math.nan]  # no fraud was reported
    moment = datetime.fromtimestamp(at, UTC)
    return [*out, float(moment.weekday() >= 5), float(moment.hour <= 6), amount / mean, amount]


def action(score: float) -> str:
    """The pilot's policy."""
    return "decline" if score > 0.6 else "review" if score > 0.3 else "approve"
