"""The value of a pilot: what is certain, what is estimated, what is unknown; in all, month by month, and so far on any day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from flightworthy.decision.route import HOLDOUT
from flightworthy.decision.valuation import HIDDEN, PENDING, Judged
from flightworthy.ground.clock import moment
from flightworthy.manifest.pilot import Pilot
from flightworthy.objective.effect import Groups, against_baseline, decisions, fewest, per_decision
from flightworthy.objective.sequences import Interval


@dataclass
class Valuation:
    """The value of a pilot so far, in its currency. ``effect`` and ``paired`` are per decision; totals are over the
    treated decisions whose outcome is known or final."""

    currency: str
    decisions: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    treated: int = 0
    holdout: int = 0
    realised: Decimal = Decimal(0)
    realised_holdout: Decimal = Decimal(0)
    effect: Interval = field(default_factory=lambda: Interval(0, 0, 0))
    paired: Interval = field(default_factory=lambda: Interval(0, 0, 0))
    unknown: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0))
    running_cost: Decimal = Decimal(0)
    per_thousand: Interval = field(default_factory=lambda: Interval(0, 0, 0))
    fewest: int | None = None  # decisions with the label that is rarest in either group

    def total(self, interval: Interval) -> Interval:
        """An effect per decision as money over the treated decisions, after the cost of running."""
        cost = float(self.running_cost)
        return Interval(*(x * self.treated - cost for x in (interval.value, interval.low, interval.high)))


class Sum:
    """Sums up judged decisions of one pilot."""

    def __init__(self, pilot: Pilot) -> None:
        self._objective, self._entity = pilot.manifest.objective, pilot.assigned_by
        self._boolean = pilot.manifest.outcomes.type == "boolean"
        self._out, self._groups = Valuation(self._objective.currency), Groups()

    def add(self, item: Judged) -> None:
        """One more."""
        out, groups, held_out = self._out, self._groups, item.record.arm == HOLDOUT
        out.decisions += 1
        out.statuses[item.status] = out.statuses.get(item.status, 0) + 1
        name = str(getattr(item.record.event, self._entity))
        if item.status == HIDDEN:
            groups.hide(held_out, name, None if item.explored else (float(item.bounds[0]), float(item.bounds[1])))
        if item.status in (PENDING, HIDDEN):
            if not item.explored:
                out.unknown = out.unknown[0] + item.bounds[0], out.unknown[1] + item.bounds[1]
            return
        if item.speaks:
            groups.speak(held_out, name, item.speaks * float(item.meant))
        groups.add(held_out, name, float(item.value), float(item.otherwise), bool(item.label) if self._boolean else None)
        if held_out:
            out.realised_holdout += item.value
        else:
            out.realised += item.value

    def so_far(self) -> Valuation:
        """Of all that was added."""
        out, groups = self._out, self._groups
        out.treated, out.holdout = decisions(groups.treated), decisions(groups.holdout)
        out.effect, out.paired = per_decision(groups), against_baseline(groups)
        out.fewest = fewest(groups)
        out.running_cost = self._objective.budget.per_decision * out.treated
        cost = float(self._objective.budget.per_decision)
        out.per_thousand = Interval(*(1000 * (x - cost) for x in (out.effect.value, out.effect.low, out.effect.high)))
        return out


def value(pilot: Pilot, judged: Iterator[Judged], watch: Callable[[Judged], None] | None = None) -> Valuation:
    """Sum up judged decisions; ``watch`` sees each of them on the way."""
    total = Sum(pilot)
    for item in judged:
        if watch is not None:
            watch(item)
        total.add(item)
    return total.so_far()


def monthly(pilot: Pilot, judged: Iterator[Judged]) -> dict[str, Valuation]:
    """By month of the events (UTC), such as ``2026-04``, in order; each by itself, so an interval of one month says nothing of
    the next."""
    months: dict[str, Sum] = {}
    for item in judged:
        at = moment(item.time)
        months.setdefault(f"{at.year:04}-{at.month:02}", Sum(pilot)).add(item)
    return {month: months[month].so_far() for month in sorted(months)}
