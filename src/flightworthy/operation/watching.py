"""Watches over a rollout: reads what is decided from the ledgers, asks the gates, sends everybody back to the champion as soon
as one of them says that the challenger is worse, and, where the manifest lets it, goes on when all of them agree.

It keeps nothing: what it knows it reads from the ledgers, so it may be killed and started again at any moment, and several
may watch. Nothing new, or a ledger that cannot be read, is never a reason to act.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flightworthy.decision.course import ABORT, ADVANCE, RUNNING, Course
from flightworthy.decision.tally import Tally
from flightworthy.decision.verdicts import FAILURES, SHIFT, SLOW, VALUE, missing, step_next, verdicts
from flightworthy.decision.worth import Worth
from flightworthy.governance.ledger import Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.errors import FlightworthyError
from flightworthy.manifest.pilot import Pilot
from flightworthy.objective.gates import ROLL_BACK, Verdict

_log = logging.getLogger("flightworthy.rollout")
Take = Callable[[str, Course, str], None]  # a step, from where it is taken, and why


@dataclass(frozen=True)
class Look:
    """What was seen at one look: decisions that were new, where the shards stand, the gates, what keeps it from the next step,
    and the step that was taken."""

    fresh: int
    courses: list[Course]
    gates: dict[str, Verdict]
    waits: list[str]
    step: str = ""

    @property
    def open(self) -> bool:
        """Whether a shard is in a rollout."""
        return any(course.open for course in self.courses)

    @property
    def rolled_back(self) -> bool:
        """Whether this look ended it."""
        return self.step == ABORT


class Watch:
    """Over the ledgers of all shards of a pilot, each with the keys of its people. ``take`` takes a step; it may raise
    `FlightworthyError`: then the next look tries again."""

    def __init__(self, pilot: Pilot, parts: Sequence[tuple[Ledger, Vault | None]], models: Path, take: Take) -> None:
        self._pilot, self._rollout, self._take, self._refused = pilot, pilot.manifest.rollout, take, ""
        self._limit = pilot.manifest.objective.budget.p99_latency or 0
        self._tallies = [Tally(pilot, ledger, models, vault, self._limit) for ledger, vault in parts]

    def look(self) -> Look:
        """Once. Raises `LedgerError` when a ledger cannot be read: nothing was done then."""
        fresh = sum(tally.read() for tally in self._tallies)
        gates = verdicts(self._tallies, self._rollout, self._limit)
        look = Look(fresh, [tally.course for tally in self._tallies], gates, missing(self._tallies, self._rollout, gates))
        if not look.open:
            return look
        if broken := [name for name, verdict in gates.items() if verdict.state == ROLL_BACK]:
            return self._step(look, ABORT, self._told(gates, broken))
        if self._rollout.automatic and _halfway(look.courses):
            return self._step(look, ADVANCE, "an earlier step reached some of the shards")
        if self._rollout.automatic and not look.waits:
            return self._step(look, step_next(look.courses, self._rollout), self._told(gates, list(gates)))
        return look

    def settle(self, now: int) -> list[Worth]:
        """What the decisions of the rollout were worth, with outcomes known at ``now`` (event time); its models must be there."""
        worths = [tally.worth for tally in self._tallies if tally.worth is not None]
        for worth in worths:
            worth.read(now)
        return worths

    def _step(self, look: Look, step: str, why: str) -> Look:
        lowest = min(look.courses, key=lambda course: (not course.open, course.stage))
        try:
            self._take(step, lowest, why)
        except FlightworthyError as error:
            if str(error) != self._refused:  # once, not at every look
                _log.error("the rollout should %s and could not: %s", step, error)
            self._refused = str(error)
            return replace(look, waits=[*look.waits, f"could not {step}: {error}"])
        return replace(look, step=step)

    def _told(self, gates: dict[str, Verdict], names: list[str]) -> str:
        told = [describe(name, gates[name]) for name in names]
        return "\n".join(told + [tally.said() for tally in self._tallies if tally.changed.all])


def _halfway(courses: Sequence[Course]) -> bool:
    stages = {course.stage for course in courses}
    return len(stages) == 2 and max(stages) - min(stages) == 1 and all(course.state == RUNNING for course in courses)


def describe(name: str, verdict: Verdict) -> str:
    """A gate's verdict in one line."""
    i, unit = verdict.interval, {FAILURES: "times the champion's", SLOW: "times the champion's", SHIFT: "of the decisions"}
    told = "nothing is known yet" if math.isnan(i.value) and name == VALUE else "none seen" if math.isnan(i.value) else \
        f"{i.value:.3g} {unit.get(name, 'more a decision')} [{i.low:.3g}, {i.high:.3g}]"
    against, for_it = (f"{max(0.0, min(evidence, 9.99)):.0%}" for evidence in (verdict.harm, verdict.fine))
    return f"{name}: {verdict.state}, {told}; of the evidence needed {against} against it, {for_it} for it"
