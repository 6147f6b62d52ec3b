"""Watches over a rollout: reads what is decided from the ledgers, asks the gates, and sends everybody back to the champion as
soon as one of them says that the challenger is worse.

It keeps nothing: what it knows it reads from the ledgers, so it may be killed and started again at any moment, and several
may watch. Nothing new, or a ledger that cannot be read, is never a reason to act.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flightworthy.decision.course import Course
from flightworthy.decision.tally import Tally, verdicts
from flightworthy.governance.ledger import Ledger
from flightworthy.ground.errors import FlightworthyError
from flightworthy.manifest.pilot import Pilot
from flightworthy.objective.gates import ROLL_BACK, Verdict

_log = logging.getLogger("flightworthy.rollout")
Abort = Callable[[int, str], None]  # a rollout's number, and why


@dataclass(frozen=True)
class Look:
    """What was seen at one look: decisions that were new, where the shards stand, the gates, and whether it rolled back."""

    fresh: int
    courses: list[Course]
    gates: dict[str, Verdict]
    rolled_back: bool = False

    @property
    def open(self) -> bool:
        """Whether a shard is in a rollout."""
        return any(course.open for course in self.courses)


class Watch:
    """Over the ledgers of all shards of a pilot. ``abort`` does it; it may raise `FlightworthyError`: then the next look tries
    again."""

    def __init__(self, pilot: Pilot, ledgers: Sequence[Ledger], abort: Abort) -> None:
        self._rollout, self._abort = pilot.manifest.rollout, abort
        self._limit = pilot.manifest.objective.budget.p99_latency or 0
        self._tallies = [Tally(ledger, self._limit) for ledger in ledgers]

    def look(self) -> Look:
        """Once. Raises `LedgerError` when a ledger cannot be read: nothing was done then."""
        fresh = sum(tally.read() for tally in self._tallies)
        gates = verdicts(self._tallies, self._rollout.margin, self._rollout.risk, self._limit)
        look = Look(fresh, [tally.course for tally in self._tallies], gates)
        broken = [name for name, verdict in gates.items() if verdict.state == ROLL_BACK]
        if not broken or not look.open:
            return look
        try:
            self._abort(max(course.number for course in look.courses), "; ".join(describe(name, gates[name]) for name in broken))
        except FlightworthyError as error:
            _log.error("the rollout should be rolled back and could not: %s", error)
            return look
        return Look(fresh, look.courses, gates, rolled_back=True)


def describe(name: str, verdict: Verdict) -> str:
    """A gate's verdict in one line."""
    i = verdict.interval
    told = f"{name}: {verdict.state}, {i.value:.3g} times as often as with the champion [{i.low:.3g}, {i.high:.3g}]"
    return f"{told}, evidence of harm {verdict.harm:.2f} of what is asked"
