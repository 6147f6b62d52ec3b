"""The chain (challenger →) champion → previous champion → baseline → safe default, with the path taken kept for the record.

A model is passed over for a row when it raises, or answers with something that is not finite. Baseline and default need
no model and cannot fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.guard import Guard
from flightworthy.model.asked import LoadedModel

Floats = NDArray[np.float64]
CHALLENGER, CHAMPION, PREVIOUS, BASELINE, DEFAULT = "challenger", "champion", "previous", "baseline", "default"
SPILLED = "spilled"  # begins the first step of a decision that was made beside the ledger, by the default alone


@dataclass
class Scored:
    """Model outputs (n, outputs; NaN where none) and, for each row, the path: failed steps with reason, then who won."""

    outputs: Floats
    paths: list[list[str]]
    failures: dict[str, int] = field(default_factory=dict)

    def put(self, rows: NDArray[np.int64], other: Scored) -> None:
        """Take these rows from another one."""
        self.outputs[rows] = other.outputs
        for row, path in zip(rows.tolist(), other.paths, strict=True):
            self.paths[row] = path


class Chain:
    """Asks the models of a chain in order until every row has a finite answer. A step with a guard has a time limit."""

    def __init__(self, models: dict[str, LoadedModel], steps: list[str], width: int,
                 guards: dict[str, Guard] | None = None) -> None:
        self.models, self.steps, self.width, self.guards = models, steps, width, guards or {}

    def score(self, x: Floats, challenger: bool = False) -> Scored:
        """Outputs for x (n, inputs); the ``challenger`` is asked ahead of the others, or none is."""
        n, steps = len(x), [CHALLENGER, *self.steps] if challenger else self.steps
        outputs = np.full((n, self.width), np.nan)
        if not n:  # no arm of a small batch need have anybody in it
            return Scored(outputs, [])
        if steps and steps[0] in self.models:
            answer, reason = self.ask(steps[0], x)
            if reason == "" and np.isfinite(answer).all():
                winner = [steps[0]]
                return Scored(answer, [winner] * n)
        return self._walk(x, outputs, steps)

    def passed_over(self, whys: list[str], step: str = BASELINE) -> Scored:
        """No model is asked, for a reason each row has: the baseline decides, or the default."""
        return Scored(np.full((len(whys), self.width), np.nan), [[why, step] for why in whys])

    def _walk(self, x: Floats, outputs: Floats, steps: list[str]) -> Scored:
        scored = Scored(outputs, [[] for _ in range(len(x))])
        left = np.arange(len(x))
        for step in steps:
            if step == CHALLENGER and step not in self.models:
                for row in left:
                    scored.paths[row].append(f"{step}: not loaded")
                continue
            if step not in self.models:
                if step != PREVIOUS:
                    for row in left:
                        scored.paths[row].append(step)
                    break
                continue
            answer, reason = self.ask(step, x[left])
            good: NDArray[np.bool_] = np.asarray(np.isfinite(answer).all(axis=1))
            outputs[left[good]] = answer[good]
            for i in range(len(left)):
                scored.paths[int(left[i])].append(step if good[i] else f"{step}: {reason or 'not finite'}")
            left = left[~good]
            if len(left):
                scored.failures[step] = len(left)
        return scored

    def ask(self, step: str, x: Floats) -> tuple[Floats, str]:
        """A model's answer, or NaN with the reason: any error of a model means the next step, never a lost decision."""
        nothing = np.full((len(x), self.width), np.nan)
        try:
            guard, predict = self.guards.get(step), self.models[step].predict
            answer = predict(x) if guard is None else guard.call(predict, x)
        except Exception as error:  # noqa: BLE001 - a user's model may raise anything; the reason is recorded
            return nothing, f"{type(error).__name__}: {error}"[:200]
        return (answer, "") if answer.shape == nothing.shape else (nothing, f"gave shape {answer.shape}")
