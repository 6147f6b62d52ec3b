"""What the ledger says of a rollout: how often the models of its two arms failed or were slow, what the one that did not decide
would have done, and what all that was worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from flightworthy.decision.course import ROLLOUT, Course
from flightworthy.decision.fallback import CHALLENGER, CHAMPION
from flightworthy.decision.route import CHALLENGED, HOLDOUT, rollout_salt
from flightworthy.decision.shadow import Shadow, agreement, eligible
from flightworthy.decision.worth import Worth
from flightworthy.governance.ledger import ACT, DECISION, OUTCOME, Entry, Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.errors import LedgerError, ModelError
from flightworthy.manifest.pilot import Pilot
from flightworthy.objective.gates import Events, Seen

LOT, SCORES = 4096, 20_000


class _Seen(msgspec.Struct):
    arm: str
    path: list[str]
    clocks: list[int]


class _Outcome(msgspec.Struct):
    decision: int
    label: float


class _Act(msgspec.Struct):
    said: dict[str, str]


_decision, _outcome = msgspec.msgpack.Decoder(_Seen).decode, msgspec.msgpack.Decoder(_Outcome).decode
_act = msgspec.msgpack.Decoder(_Act).decode


@dataclass
class Arm:
    """Decisions for which the models of an arm were asked, and what went wrong."""

    decisions: int = 0
    failed: int = 0
    slow: int = 0


@dataclass
class Stage:
    """Both arms while the shares stayed as they were; ``asked``: the challenger in the champion's place, as a shadow.
    ``began`` and ``newest``: event times, microseconds."""

    share: float = 0.0
    challenger: Arm = field(default_factory=Arm)
    champion: Arm = field(default_factory=Arm)
    asked: Arm = field(default_factory=Arm)
    began: int = 0
    newest: int = 0

    @property
    def mine(self) -> Arm:
        """Of the challenger: its own decisions, or, where it has none, those it was asked for."""
        return self.challenger if self.share else self.asked

    def failures(self) -> Events:
        """As a gate reads them; a shadow and the champion were asked for the same decisions."""
        mine, theirs = self.mine, self.champion
        return Events(mine.decisions / max(1, mine.decisions + theirs.decisions), mine.failed, mine.failed + theirs.failed)

    def slowness(self) -> Events:
        """As a gate reads it; of a shadow nothing is known."""
        mine, theirs = self.challenger, self.champion
        return Events(mine.decisions / max(1, mine.decisions + theirs.decisions), mine.slow, mine.slow + theirs.slow)


class Tally:
    """Follows one ledger, from the newest rollout on. ``limit``: microseconds of its models from which a decision is slow; 0:
    none is. ``blind``: why the models cannot be asked here; what happened is counted all the same."""

    def __init__(self, pilot: Pilot, ledger: Ledger, models: Path, vault: Vault | None = None, limit: int = 0) -> None:
        self._pilot, self._ledger, self._models, self._vault, self._limit = pilot, ledger, models, vault, limit
        self._salt = pilot.manifest.rollout.salt or pilot.name
        self.course, self.stages, self.changed = Course(), list[Stage](), Seen(0, 0)
        self.worth: Worth | None = None
        self.blind = ""
        self._shadow: Shadow | None = None
        self._lot: list[Entry] = []
        self._scores: list[tuple[float, float]] = []
        self._digest = sha256()
        self._seen = -1

    def read(self) -> int:
        """Take in what is new; the number of decisions. Raises `LedgerError`; then the next call takes in what is left."""
        count, self._seen = 0, self._beginning() if self._seen < 0 else self._seen
        for entry in self._ledger.scan(self._seen + 1, (DECISION, OUTCOME, ACT)):
            try:
                if entry.kind == DECISION:
                    count += 1
                    if self.course.open:
                        self._count(_decision(entry.content))
                        self._lot.append(entry)
                elif entry.kind == OUTCOME:
                    self._learn(_outcome(entry.content))
                elif entry.key == ROLLOUT:
                    self._ask()
                    self._turn(Course.of(_act(entry.content).said), entry.seq)
            except msgspec.MsgspecError as error:
                raise LedgerError("a stored record cannot be read", where=f"entry {entry.seq}", found=str(error)) from error
            self._seen = entry.seq
            if len(self._lot) >= LOT:
                self._ask()
        self._ask()
        if self.worth is not None and self.stages:
            self.worth.read(self.stages[-1].newest)
        return count

    def _beginning(self) -> int:
        """The entry before the start of the newest rollout."""
        first, number = 0, 0
        for entry in self._ledger.scan(1, (ACT,)):
            if entry.key == ROLLOUT and (course := Course.of(_act(entry.content).said)).number != number:
                first, number = entry.seq - 1, course.number
        return first if number else self._ledger.last()

    def _turn(self, course: Course, seq: int) -> None:
        if course.number != self.course.number:
            self._begin(course, seq)
        elif course.share != self.course.share and course.open:
            self.stages.append(Stage(course.share, began=self.stages[-1].newest, newest=self.stages[-1].newest))
        if self.worth is not None and not course.open:
            self.worth.end(seq)
        self.course = course

    def _begin(self, course: Course, seq: int) -> None:
        self.stages, self.changed, self._scores, self._digest = [Stage(course.share)], Seen(0, 0), [], sha256()
        self._shadow, self.worth, self.blind = None, None, ""
        if not Course.of(_act(self._newest().content).said).open:
            return  # of one that ended, what happened is enough
        try:
            self._shadow = Shadow(self._pilot, self._models, course, self._vault)
        except ModelError as error:
            self.blind = str(error)
            return
        self.worth = Worth(self._shadow, self._ledger, rollout_salt(self._salt, course.number), seq)

    def _newest(self) -> Entry:
        return self._ledger.read([self._ledger.newest(ACT, [ROLLOUT])[ROLLOUT]])[0]

    def _learn(self, outcome: _Outcome) -> None:
        if self.worth is not None:
            self.worth.learn(outcome.decision, outcome.label)

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

    def _ask(self) -> None:
        """What the other model would have done with the decisions that wait for it."""
        lot, self._lot = self._lot, []
        if not lot or self._shadow is None:
            return
        stage, line = self.stages[-1], self._shadow.line
        try:
            records = line.records.read_all(lot)
        except LedgerError:
            self._lot = lot
            raise
        times = line.columns.times([record.event for record in records])
        stage.began = stage.began or int(times.min())
        stage.newest = max(stage.newest, int(times.max()))
        twins = self._shadow.ask([record for record in records if eligible(record)])
        self.changed = Seen(self.changed.bad + sum(twin.moved for twin in twins), self.changed.all + len(twins))
        shadowed = [twin for twin in twins if twin.record.arm != CHALLENGED]
        stage.asked.decisions += len(shadowed)
        stage.asked.failed += sum(twin.failed for twin in shadowed)
        self._scores = (self._scores + [twin.scores for twin in twins])[-SCORES:]
        self._digest.update(np.array([(twin.record.seq, *twin.scores) for twin in twins], "<f8").tobytes())

    def said(self) -> str:
        """What was asked, for the reason of an act: anyone who has the ledger and the models can have the same numbers."""
        return (f"{self.changed.bad} of {self.changed.all} decisions would be others, scores differ by "
                f"{agreement(np.array(self._scores).reshape(-1, 2)):.3f}, SHA-256 of both {self._digest.hexdigest()[:16]}")
