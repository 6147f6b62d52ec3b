"""What the decisions of a rollout in the ledger say of its two arms: how often their models failed, or were slow."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from flightworthy.decision.course import ROLLOUT, Course
from flightworthy.decision.fallback import CHALLENGER, CHAMPION
from flightworthy.decision.route import CHALLENGED, HOLDOUT
from flightworthy.governance.ledger import ACT, DECISION, Ledger
from flightworthy.ground.errors import LedgerError
from flightworthy.objective.gates import Events, Risk, Verdict, rate_gate

FAILURES, SLOW = "failures", "slow answers"


class _Seen(msgspec.Struct):
    arm: str
    path: list[str]
    clocks: list[int]


class _Act(msgspec.Struct):
    said: dict[str, str]


_decision, _act = msgspec.msgpack.Decoder(_Seen).decode, msgspec.msgpack.Decoder(_Act).decode


@dataclass
class Arm:
    """Decisions for which the models of an arm were asked, and what went wrong."""

    decisions: int = 0
    failed: int = 0
    slow: int = 0


@dataclass
class Stage:
    """Both arms while the shares stayed as they were."""

    challenger: Arm = field(default_factory=Arm)
    champion: Arm = field(default_factory=Arm)

    def events(self, name: str) -> Events:
        """Bad events as a gate reads them."""
        mine, theirs = self.challenger, self.champion
        bad = (mine.failed, theirs.failed) if name == FAILURES else (mine.slow, theirs.slow)
        return Events(mine.decisions / (mine.decisions + theirs.decisions), bad[0], sum(bad))


class Tally:
    """Follows one ledger. ``limit``: microseconds of its models from which a decision is slow; 0: none is."""

    def __init__(self, ledger: Ledger, limit: int = 0) -> None:
        self._ledger, self._limit, self._seen = ledger, limit, 0
        self.course, self.stages = Course(), list[Stage]()

    def read(self) -> int:
        """Take in what is new; the number of decisions. Raises `LedgerError`; then the next call takes in what is left."""
        count = 0
        for entry in self._ledger.scan(self._seen + 1, (DECISION, ACT)):
            try:
                if entry.kind == DECISION:
                    count += 1
                    if self.course.open:
                        self._count(_decision(entry.content))
                elif entry.key == ROLLOUT:
                    self._turn(Course.of(_act(entry.content).said))
            except msgspec.MsgspecError as error:
                raise LedgerError("a stored record cannot be read", where=f"entry {entry.seq}", found=str(error)) from error
            self._seen = entry.seq
        return count

    def _turn(self, course: Course) -> None:
        if course.number != self.course.number:
            self.stages = [Stage()]
        elif course.share != self.course.share:
            self.stages.append(Stage())
        self.course = course

    def _count(self, seen: _Seen) -> None:
        """Decisions for which no model was asked (kill switch, no consent, made beside the ledger) say nothing of it; those of
        the holdout would say something of the champion alone."""
        challenged = seen.arm == CHALLENGED
        first = CHALLENGER if challenged else CHAMPION
        if not seen.path[0].startswith(first) or seen.arm == HOLDOUT:
            return
        arm = self.stages[-1].challenger if challenged else self.stages[-1].champion
        arm.decisions += 1
        arm.failed += seen.path[0] != first
        arm.slow += 0 < self._limit < seen.clocks[2]


def verdicts(tallies: list[Tally], margin: float, risk: float, limit: int) -> dict[str, Verdict]:
    """The gates of a rollout over all its shards, by name. ``risk``: of rolling back a challenger that is no worse, by any of
    them, however often one looks."""
    names = [FAILURES, *([SLOW] if limit else [])]
    stages = [stage for tally in tallies for stage in tally.stages if stage.challenger.decisions]
    each = Risk(risk, risk).of(len(names))
    return {name: rate_gate([stage.events(name) for stage in stages], margin, each) for name in names}
