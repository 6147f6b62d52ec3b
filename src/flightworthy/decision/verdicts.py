"""The gates of a rollout, over all its shards, and whether it may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flightworthy.decision.course import ADVANCE, PROMOTE, Course
from flightworthy.decision.tally import Stage, Tally
from flightworthy.decision.worth import Worth, pairs
from flightworthy.ground.clock import say
from flightworthy.manifest.schema import Rollout
from flightworthy.objective import gates
from flightworthy.objective.counterfactual import Moved, counterfactual_gate
from flightworthy.objective.effect import Totals
from flightworthy.objective.gates import Risk, Seen, Verdict, limit_gate, rate_gate, value_gate

FAILURES, SLOW, SHIFT, VALUE = "failures", "slow answers", "shift", "value"
SLOWEST = 0.01  # a p99 is kept when one in a hundred is slower


def verdicts(tallies: Sequence[Tally], spec: Rollout, limit: int) -> dict[str, Verdict]:
    """By name. ``spec.risk``: of rolling back a challenger that is no worse, by any of them, however often one looks; ``limit``:
    microseconds from which a decision is slow, 0 where none is."""
    names = [FAILURES, *([SLOW] if limit else []), *([SHIFT] if spec.shift else []), VALUE]
    each = Risk(spec.risk, spec.risk).of(len(names))
    stages = [stage for tally in tallies for stage in tally.stages if stage.mine.decisions]
    out = {FAILURES: rate_gate([stage.failures() for stage in stages], spec.margin, each, spec.tolerance,
                               Seen(sum(s.mine.failed for s in stages), sum(s.mine.decisions for s in stages)))}
    if limit:
        arms = [stage for stage in stages if stage.challenger.decisions]
        out[SLOW] = rate_gate([stage.slowness() for stage in arms], spec.margin, each, SLOWEST,
                              Seen(sum(s.challenger.slow for s in arms), sum(s.challenger.decisions for s in arms)))
    if spec.shift:
        moved = [tally.changed for tally in tallies]
        out[SHIFT] = limit_gate(Seen(sum(seen.bad for seen in moved), sum(seen.all for seen in moved)), spec.shift, each)
    out[VALUE] = _worth([tally.worth for tally in tallies if tally.worth is not None], spec, each)
    return out


def _worth(all_: Sequence[Worth], spec: Rollout, risk: Risk) -> Verdict:
    if spec.value == "arms":
        both = list(pairs([worth.slices for worth in all_]))
        told = np.array(both, float).reshape(-1, 2, 2)  # pair, arm, [decisions, worth]
        return value_gate(told[:, :, 1], told[:, :, 0], float(spec.loss), risk)
    apart, moved = Totals(), Moved()
    for worth in all_:
        apart |= worth.apart
        moved.merge(worth.moved)
    return counterfactual_gate(apart, sum(len(worth.entities) for worth in all_), moved, float(spec.loss), risk)


def step_next(courses: Sequence[Course], spec: Rollout) -> str:
    """What would come next where all shards stand: an advance, or after the last stage the promotion."""
    return ADVANCE if min(course.stage for course in courses) + 1 < len(spec.stages) else PROMOTE


def missing(tallies: Sequence[Tally], spec: Rollout, found: Mapping[str, Verdict]) -> list[str]:
    """What keeps a rollout from its next step; empty: it may be taken. Value must be proven to promote; before that it suffices
    that it is not known to be worse."""
    courses, now = [tally.course for tally in tallies], [tally.stages[-1] for tally in tallies if tally.stages]
    if not now or not all(course.open for course in courses):
        return ["no rollout is under way"]
    out = [tally.blind for tally in tallies if tally.blind]
    if any(course.state != "running" for course in courses) or len({course.stage for course in courses}) > 1:
        out.append("the shards are held, or do not stand at the same stage")
    asked, shadow = sum(stage.mine.decisions for stage in now), not any(stage.share for stage in now)
    if asked < spec.least.decisions:
        out.append(f"{asked} of at least {spec.least.decisions} decisions in this stage")
    passed = min(_passed(stage) for stage in now)
    if passed < spec.least.time:
        out.append(f"{passed / 3.6e9:.1f} h of at least {say(spec.least.time)} in this stage")
    needed = set(found) - ({SLOW} if shadow else set()) - ({VALUE} if step_next(courses, spec) == ADVANCE else set())
    return out + [f"{name}: {found[name].fine:.2f} of the evidence that it is fine" for name in found
                  if name in needed and found[name].state != gates.ADVANCE]


def _passed(stage: Stage) -> int:
    return stage.newest - stage.began if stage.began else 0
