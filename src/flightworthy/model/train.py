"""From a table of features and labels to an artefact and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.ground.clock import iso
from flightworthy.ground.errors import ModelError
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import FORMAT, Artifact
from flightworthy.model.metrics import METRICS, Estimate, estimate
from flightworthy.model.runtime import Flavour, Floats, Predictor, Recipe, flavour

Ints = NDArray[np.int64]
BANDS, FOLDS = 10, 5


@dataclass(frozen=True)
class Table:
    """Labelled history: x (n, inputs), y (n,), event times (n,) in microseconds, one entity code a row for splitting
    and one for resampling, all in order of time."""

    x: Floats
    y: Floats
    times: Ints
    split_by: Ints
    cluster: Ints


@dataclass(frozen=True)
class Trained:
    """An artefact and what is known of it."""

    artifact: Artifact
    predictor: Predictor
    metrics: dict[str, Estimate]
    held_back: int
    gain: dict[str, float] = field(default_factory=dict)


def train(pilot: Pilot, table: Table) -> Trained:
    """Fit on the early (or the kept) part, judge on what was held back, then fit once more on everything.

    Raises `ModelError` when there is too little to learn from. The same table gives the same digest.
    """
    spec = pilot.manifest.model
    maker, code = flavour(spec.flavour, pilot.folder)
    recipe = recipe_of(pilot)
    learn, held = _split(pilot, table)
    _enough(table, learn, held, spec.objective)
    judged = maker.open(maker.fit(table.x[learn], table.y[learn], recipe))
    guess = _finite(judged.predict(table.x[held]))
    metrics = {name: estimate(metric, table.y[held], guess, table.cluster[held], spec.seed)
               for name, metric in METRICS[spec.objective].items()}
    bands: list[dict[str, float]] = []
    if spec.interval is not None:
        bands = _bands(*_out_of_fold(pilot, table, maker, recipe, (table.y[held], guess)), spec.interval)
    rows = np.ones(len(held), bool) if spec.train.refit else learn
    parts = maker.fit(table.x[rows], table.y[rows], recipe)
    content: dict[str, Any] = {
        "format": FORMAT, "pilot": pilot.name, "flavour": spec.flavour, "code": code, "recipe": pilot.recipe(),
        "recipe_digest": pilot.recipe_digest, "objective": spec.objective, "inputs": list(pilot.inputs),
        "outputs": list(pilot.outputs), "parts": parts, "references": _references(table, rows, spec.objective),
        "bands": bands,
        "trained": {"rows": int(rows.sum()), "from": iso(int(table.times[rows][0])),
                    "until": iso(int(table.times[rows][-1]))},
    }
    return Trained(Artifact(content), maker.open(parts), metrics, int(held.sum()), dict(parts.get("gain", {})))


def recipe_of(pilot: Pilot) -> Recipe:
    """What the flavour is told."""
    spec, fields = pilot.manifest.model, pilot.manifest.events.fields
    categorical = tuple(i for i, name in enumerate(pilot.inputs) if name in fields and fields[name].type == "category")
    return Recipe(spec.objective, pilot.inputs, categorical, spec.rounds, spec.seed, dict(spec.params))


def _split(pilot: Pilot, table: Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows to learn from and rows to judge by."""
    split = pilot.manifest.model.train.split
    if split.by == "time":
        n = len(table.times)
        cut = table.times[min(n - 1, int(n * (1 - split.share)))] if n else 0
        # What is learnt from must have had its label before the judged part begins.
        return table.times + pilot.manifest.outcomes.delay <= cut, table.times >= cut
    rng = np.random.default_rng(pilot.manifest.model.seed)
    names = np.unique(table.split_by)
    held = np.isin(table.split_by, rng.permutation(names)[: max(1, round(len(names) * split.share))])
    return ~held, held


def _out_of_fold(pilot: Pilot, table: Table, maker: Flavour, recipe: Recipe,
                 judged: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Labels and honest predictions to calibrate an interval on: of the part held back in time, or, when entities are
    held back, of every entity by a model that did not see it."""
    if pilot.manifest.model.train.split.by == "time":
        return judged
    names = np.unique(table.split_by)
    fold = np.random.default_rng(pilot.manifest.model.seed).permutation(len(names)) % FOLDS
    of_row = fold[np.searchsorted(names, table.split_by)]
    guess = np.empty(len(table.y))
    for k in range(min(FOLDS, len(names))):
        rows = of_row == k
        guess[rows] = _finite(maker.open(maker.fit(table.x[~rows], table.y[~rows], recipe)).predict(table.x[rows]))
    return table.y, guess


def _enough(table: Table, learn: NDArray[np.bool_], held: NDArray[np.bool_], objective: str) -> None:
    for part, rows in (("learning", learn), ("judging", held)):
        labels = table.y[rows]
        if len(labels) < 20 or (objective == "binary" and len(np.unique(labels)) < 2):
            raise ModelError(f"too little labelled history for {part}", where="model.train",
                             found=f"{len(labels)} rows, {int(labels.sum())} positive",
                             expected="at least 20 rows, of both classes", next_step="give a longer history")


def _finite(guess: Floats) -> Floats:
    if not np.isfinite(guess).all():
        raise ModelError("the model gave values that are not finite", where="model.flavour")
    return guess


def _references(table: Table, rows: NDArray[np.bool_], objective: str) -> list[float | None]:
    """The typical value of each input among the unremarkable: medians over negatives, or over everyone."""
    usual = rows & (table.y == 0) if objective == "binary" else rows
    out: list[float | None] = []
    for column in table.x[usual].T:
        known = column[~np.isnan(column)]
        out.append(float(np.median(known)) if len(known) else None)
    return out


def _bands(y: Floats, guess: Floats, coverage: float) -> list[dict[str, float]]:
    """Split-conformal offsets of the interval, by bands of the prediction (Vovk et al. 2005; Mondrian by band)."""
    edges = np.unique(np.quantile(guess, np.linspace(0, 1, BANDS + 1)[1:-1]))
    band = np.searchsorted(edges, guess, side="right")
    out = []
    for i in range(len(edges) + 1):
        # A band nobody falls into (tied predictions) takes the residuals of all.
        residual = np.sort((y - guess)[band == i] if (band == i).any() else y - guess)
        rank = (len(residual) + 1) * (1 - coverage) / 2
        low = residual[max(0, int(np.floor(rank)) - 1)]
        high = residual[min(len(residual) - 1, int(np.ceil(len(residual) + 1 - rank)) - 1)]
        out.append({"from": float(edges[i - 1]) if i else float("-1e308"), "low": float(low), "high": float(high)})
    return out
