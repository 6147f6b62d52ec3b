"""The command that tries rollouts on past traffic."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path

from flightworthy.cli.pilots import parts, say
from flightworthy.cli.progress import bar
from flightworthy.cli.run import newest, plain
from flightworthy.decision.valuation import judge
from flightworthy.ground.money import say as money
from flightworthy.manifest.load import load
from flightworthy.objective.forecast import PROMOTED, ROLLED_BACK, UNDECIDED
from flightworthy.operation.simulating import CHANGES, Forecast, forecast


def simulate(path: Path, tries: int, days: int, seed: int, var: Path | None, as_json: bool) -> None:
    """Print what is to be expected."""
    pilot, done = load(path), [0]
    with parts(pilot, var) as opened:
        now = newest(pilot, opened)
        judged = list(chain.from_iterable(judge(pilot, ledger, now, vault) for ledger, vault, _ in opened))
    with bar("trying rollouts", len(CHANGES)) as advance:

        def one() -> None:
            done[0] += 1
            advance(done[0])

        found = forecast(pilot, judged, tries, days, seed, advance=one)
    if as_json:
        say(json.dumps({"pilot": pilot.name, "tries": tries, "days_at_most": days, **plain(found)}, indent=2))
        return
    for line in lines(found, pilot.manifest.objective.currency, days):
        say(line)


def lines(found: Forecast, currency: str, most: int) -> Iterator[str]:
    """For people."""
    yield (f"made from {found.days} days of {found.rate:,.0f} decisions with a final outcome; the champion earns "
           f"{found.earns:,.4f} {currency} a decision more than the baseline and has no answer for {found.failing:.4%}")
    yield ""
    yield (f"{'the challenger earns':<24}{PROMOTED:>10}{ROLLED_BACK:>13}{UNDECIDED:>11}{'days':>7}{'decisions':>12}"
           "   worth more than the champion's")
    for each in found.outcomes:
        what = "the same" if each.change == 0 else f"{each.change:+.0%} of that"
        ends = "".join(f"{each.ends[end]:>{width}.0%}" for end, width in ((PROMOTED, 10), (ROLLED_BACK, 13), (UNDECIDED, 11)))
        yield (f"{what:<24}{ends}{each.days:>7.0f}{each.decisions:>12,.0f}   "
               f"{money(Decimal(f'{each.worth_more:.2f}'), currency)}")
    yield f"medians of days until the end (at most {most}), and of the challenger's decisions until then and their worth"
    yield ""
    yield f"{'its model fails more by':<24}{'at a share of':>14}{'found':>8}{'after decisions':>18}{'of them failed':>17}"
    for lift in found.lifts:
        after = "-" if math.isnan(lift.decisions) else f"{lift.decisions:,.0f}"
        failed = "-" if math.isnan(lift.harmful) else f"{lift.harmful:,.0f}"
        yield (f"{f'{100 * lift.lift:g} points':<24}{f'{lift.share:.0%}' if lift.share else 'a shadow':>14}{lift.found:>8.0%}"
               f"{after:>18}{failed:>17}")
