"""What the other model would have done: decisions of a rollout, asked again from what their records keep.

Nothing here is on the way of an answer: it reads the ledger, in another process if one likes, and has the same numbers before it
as the model that decided, since the features are in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flightworthy.decision.course import Course
from flightworthy.decision.fallback import CHALLENGER, CHAMPION, Floats
from flightworthy.decision.line import Line
from flightworthy.decision.rooms import load_models, open_model
from flightworthy.decision.route import CHALLENGED, HOLDOUT
from flightworthy.governance.privacy.vault import Vault
from flightworthy.manifest.pilot import Pilot

Action = tuple[str, float | None]  # its name and its quantity


class Twin(NamedTuple):
    """A decision as each of the two models has it; where one gives no answer, it does as the other. ``failed``: the model that
    did not decide gave none. Scores are first outputs, NaN where there is none."""

    record: Any
    challenger: Action
    champion: Action
    failed: bool
    scores: tuple[float, float]

    @property
    def moved(self) -> bool:
        """Whether they differ."""
        return self.challenger != self.champion


def eligible(record: Any) -> bool:
    """Whether a decision says something of the two models: one of them was asked first, not the holdout's baseline, nor
    nobody."""
    first = CHALLENGER if record.arm == CHALLENGED else CHAMPION
    return bool(record.arm != HOLDOUT and not record.erased and record.path[0].startswith(first))


class Shadow:
    """Asks the models of a rollout. Raises `ModelError` when one of them is missing or does not fit."""

    def __init__(self, pilot: Pilot, folder: Path, course: Course, vault: Vault | None = None) -> None:
        models = {CHAMPION: load_models(pilot, folder)[CHAMPION], CHALLENGER: open_model(pilot, folder, course.model)}
        self.line = Line(pilot, models, vault)

    def ask(self, records: Sequence[Any]) -> list[Twin]:
        """Both sides of eligible decisions, in order."""
        if not records:
            return []
        line, events = self.line, [record.event for record in records]
        numbers = line.columns.numbers(events, line.columns.times(events))
        frame = line.frames.rebuild(numbers, np.array([record.features for record in records], np.float64))
        challenged = np.fromiter((record.arm == CHALLENGED for record in records), bool, len(records))
        x, outputs = line.inputs(frame), np.full((len(records), line.chain.width), np.nan)
        for step, rows in ((CHALLENGER, ~challenged), (CHAMPION, challenged)):
            if rows.any():
                outputs[rows] = line.chain.ask(step, x[rows])[0]
        failed = ~np.isfinite(outputs).all(1)
        return list(map(_twin, records, map(line.meant, records), line.would(frame, outputs), outputs[:, 0].tolist(),
                        failed.tolist(), challenged.tolist()))


def _twin(record: Any, was: Action, would: Action, score: float, failed: bool, challenged: bool) -> Twin:
    other, scores = was if failed else would, (record.outputs[0], score)
    return Twin(record, was, other, failed, scores) if challenged else Twin(record, other, was, failed, scores[::-1])


def agreement(scores: Floats) -> float:
    """Population stability index of scores (n, 2), challenger's against champion's, in the champion's tenths: under 0.1 they are
    spread alike, above 0.25 they are not. NaN with fewer than 100.

    >>> round(agreement(np.linspace([0, 0], [1, 1], 1000)), 3)
    0.0
    """
    known = scores[np.isfinite(scores).all(1)]
    if len(known) < 100:
        return float("nan")
    edges = np.unique(np.quantile(known[:, 1], np.linspace(0, 1, 11)[1:-1]))
    mine, theirs = (np.bincount(np.searchsorted(edges, column, side="right"), minlength=len(edges) + 1) / len(known)
                    for column in known.T)
    mine, theirs = np.maximum(mine, 1e-4), np.maximum(theirs, 1e-4)
    return float(((mine - theirs) * np.log(mine / theirs)).sum())
