"""Where a rollout stands: what its newest act in the ledger says, and what may be done next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flightworthy.ground.errors import DataError

ROLLOUT = "rollout"  # the name of its acts
APPROVAL = "rollout-approval"  # with the number of a rollout, the name of an act in which somebody approves of it
RUNNING, HELD, PROMOTED = "running", "held", "promoted"
START, ADVANCE, HOLD, RESUME, ABORT, PROMOTE = "start", "advance", "hold", "resume", "abort", "promote"
STEPS = (START, ADVANCE, HOLD, RESUME, ABORT, PROMOTE)
_ENDS = {ABORT: "aborted", PROMOTE: PROMOTED}


class Course(NamedTuple):
    """``number`` of the rollout among those of its pilot (0: there was none); ``model``: digest of its challenger; ``stage``
    counts from 0; ``share``: the challenger's part of all who are not held out; ``state``: running, held, or how it ended."""

    number: int = 0
    model: str = ""
    stage: int = 0
    share: float = 0.0
    state: str = "none"

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in (RUNNING, HELD)

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Course:
        """As an act says it.

        >>> Course.of(Course(2, "ab", 1, 0.2, "running").said("advance", "calm"))
        Course(number=2, model='ab', stage=1, share=0.2, state='running')
        """
        return cls(int(said["rollout"]), said["model"], int(said["stage"]), float(said["share"]), said["state"])

    def said(self, step: str, why: str) -> dict[str, str]:
        """What the act says that leads here."""
        return {"step": step, "why": why, "rollout": str(self.number), "model": self.model, "stage": str(self.stage),
                "share": repr(self.share), "state": self.state}

    def after(self, step: str, stages: Sequence[float], model: str = "") -> Course:
        """Where a step leads. Raises `DataError` when it cannot be taken from here."""
        if step == START and not self.open:
            return Course(self.number + 1, model, 0, stages[0], RUNNING)
        if step == START or not self.open:
            raise self._refused(step, "abort it first" if self.open else "start one")
        if step in (HOLD, RESUME) and self.state != (RUNNING if step == HOLD else HELD):
            raise self._refused(step, "nothing needs to be done")
        if step == ADVANCE and (self.state == HELD or self.stage + 1 >= len(stages)):
            raise self._refused(step, "resume it first" if self.state == HELD else "this is the last stage: promote, or abort")
        if step == PROMOTE and (self.state == HELD or self.stage + 1 < len(stages)):
            raise self._refused(step, "resume it first" if self.state == HELD else "advance to the last stage first")
        if step == ADVANCE and stages[self.stage + 1] <= self.share:  # the manifest was changed meanwhile
            raise self._refused(step, "let rollout.stages go on from the share there is: nobody who is in may fall out")
        if step == ADVANCE:
            return self._replace(stage=self.stage + 1, share=stages[self.stage + 1])
        if step in _ENDS:
            return self._replace(share=0.0, state=_ENDS[step])
        return self._replace(state=HELD if step == HOLD else RUNNING)

    def _refused(self, step: str, next_step: str) -> DataError:
        return DataError(f"a rollout cannot {step} now", found=f"rollout {self.number}, stage {self.stage + 1}, {self.state}"
                         if self.number else "no rollout", next_step=next_step)


def target(courses: Sequence[Course], step: str, stages: Sequence[float], model: str = "") -> Course:
    """Where a step leads several shards. Where an earlier try reached some of them only, it leads the others there; those that
    are there need nothing. Raises `DataError` when no shard can take it."""
    refused: DataError | None = None
    for course in sorted(set(courses), key=lambda course: (course.number, not course.open, course.stage)):
        try:
            return course.after(step, stages, model)
        except DataError as error:
            refused = refused or error
    raise refused or DataError("nothing is there that could be rolled")
