"""What a pilot earned, on the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from flightworthy.cli.pilots import parts, say
from flightworthy.cli.run import instant, newest, plain
from flightworthy.decision.statement import Valuation, monthly
from flightworthy.decision.statement import value as total
from flightworthy.decision.valuation import HIDDEN, PENDING, Judged, judge
from flightworthy.ground.clock import iso
from flightworthy.ground.money import say as money
from flightworthy.manifest.load import load
from flightworthy.objective.effect import FEWEST_CASES
from flightworthy.objective.sequences import Interval


def value(path: Path, var: Path | None, at: str | None, by_month: bool, as_json: bool) -> None:
    """Print the statement, or one for each month."""
    pilot = load(path)
    with parts(pilot, var) as opened:
        now = instant(at)
        if now is None:
            now = newest(pilot, opened)

        def judged() -> Iterator[Judged]:
            return chain.from_iterable(judge(pilot, ledger, now, vault) for ledger, vault, _ in opened)

        months = monthly(pilot, judged()) if by_month else {}
        worth = total(pilot, judged())
    if as_json:
        told = {"at": iso(now), **plain(worth)} | ({"months": plain(months)} if by_month else {})
        say(json.dumps(told, indent=2))
        return
    for line in chain(profit_and_loss(months, worth.currency) if by_month else (), statement(worth, now)):
        say(line)


def profit_and_loss(months: dict[str, Valuation], unit: str) -> Iterator[str]:
    """A line for each month: what is certain, what is estimated, what is unknown."""
    yield f"by month of the events (UTC), in {unit}; intervals 95%, valid at every look, each month by itself"
    yield (f"{'month':<9}{'decisions':>11}{'realised':>16}{'cost':>10}{'against the holdout':>42}{'against the baseline':>42}"
           f"{'unknown':>10}{'at worst':>16}{'at best':>16}")
    for month, worth in months.items():
        unknown = worth.statuses.get(PENDING, 0) + worth.statuses.get(HIDDEN, 0)
        yield (f"{month:<9}{worth.decisions:>11,}{worth.realised:>16,.2f}{worth.running_cost:>10,.2f}"
               f"{interval(worth.total(worth.effect)):>42}{interval(worth.total(worth.paired)):>42}"
               f"{unknown:>10,}{worth.unknown[0]:>16,.2f}{worth.unknown[1]:>16,.2f}")
    yield ""


def statement(worth: Any, now: int) -> Iterable[str]:
    """The value of a pilot, line by line."""
    unit, pending = worth.currency, worth.statuses.get(PENDING, 0)
    groups = f"{worth.treated:,} treated and {worth.holdout:,} held out have an outcome"
    assumed = "same decisions; assumes the truth does not depend on the action"
    yield f"value at {iso(now)}, in {unit}"
    yield f"  decisions                     {worth.decisions:>12,}   {groups}"
    yield f"  realised by the treated       {money(worth.realised, unit):>18}"
    yield f"  cost of running them          {money(worth.running_cost, unit):>18}"
    yield f"  earned against the holdout    {interval(worth.total(worth.effect))}   (95%, valid at every look)"
    yield f"  earned against the baseline   {interval(worth.total(worth.paired))}   ({assumed})"
    yield f"  per 1,000 decisions           {interval(worth.per_thousand)}   against the holdout"
    if worth.fewest is not None and worth.fewest < FEWEST_CASES:
        yield f"  no interval against the holdout yet: a group has {worth.fewest} cases of a label, it takes {FEWEST_CASES}"
    low, high = worth.unknown
    if hidden := worth.statuses.get(HIDDEN, 0):
        yield f"  hidden by their action        {hidden:>12,} decisions; those let through speak for them"
    yield f"  still unknown                 {pending:>12,} decisions without outcome, worth from {money(low, unit)}"
    yield f"                                {'':>12} (all of them the worst way) to {money(high, unit)} (the best way)"


def interval(i: Interval) -> str:
    """An interval with thousands separators."""
    told = f"[{i.low:,.2f}, {i.high:,.2f}]" if math.isfinite(i.low) and math.isfinite(i.high) else "[no interval yet]"
    return f"{'-' if math.isnan(i.value) else f'{i.value:,.2f}':>14}  {told}"
