"""The Handbook's random forest as champion, its XGBoost as challenger, and the other way round, on its public data: what the
gates say, when, and what it is worth. Writes ``out/bench/challenger.json``.

Usage: python -m benchmarks.challenger DATA (transactions.parquet of the Handbook's simulated data)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import history, on_disk, step, write
from flightworthy.decision.learn import table_of
from flightworthy.delivery.rollouts import Rollout, rehearse
from flightworthy.ground.clock import iso
from flightworthy.integration.sources import chunked, rows
from flightworthy.manifest.check import instant
from flightworthy.model.artifact import Artifact
from flightworthy.model.train import train
from flightworthy.objective.gates import Verdict
from flightworthy.operation import learn
from flightworthy.operation.feed import Lot, Peek, merged

DAY = 86_400_000_000
FROM, UNTIL = instant("2018-05-09T00:00:00Z"), instant("2018-05-16T00:00:00Z")  # a week to learn from, as the Handbook does
LIVE = UNTIL + 7 * DAY  # when all of that week's labels are known
LAST = instant("2018-09-15T00:00:00Z")  # a month after the last payment
FLAVOURS = {"random forest": "python:models.py:Forest", "XGBoost": "python:models.py:Boosted"}


def main(data: str) -> None:
    """Both ways."""
    folder = Path(__file__).parent
    with step("features"):
        pilot, line, past, _ = history(folder / "pilot.yaml", data)
    models: dict[str, Artifact] = {}
    for name, flavour in FLAVOURS.items():
        with step(name):
            spec = pilot.manifest.model.model_copy(update={"flavour": flavour})
            made = replace(pilot, manifest=pilot.manifest.model_copy(update={"model": spec}))
            models[name] = train(made, table_of(made, line, past, UNTIL + 7 * DAY, FROM)).artifact
    all_, peek = list(rows(learn.open_source(data, pilot).chunks())), Peek(pilot)
    all_.sort(key=lambda row: peek.event(row.raw)[0] or 0)
    cut = sum((peek.event(row.raw)[0] or 0) < LIVE for row in all_)

    def lots() -> Iterator[Lot]:
        return merged(pilot, chunked(all_[cut:]), (), LAST, chunked(all_[:cut]))

    found = {}
    for champion, challenger in (("random forest", "XGBoost"), ("XGBoost", "random forest")):
        told = {"challengers": [{"name": challenger, "says": f"{challenger} against {champion}"}]}
        with step(f"{challenger} against {champion}"):
            done = rehearse(pilot, told, (models[champion], {challenger: models[challenger]}), LAST, lots,
                            on_disk() / "challenger", quiet, 0)[0]
        found[f"{challenger} against {champion}"] = figures(done)
    write("challenger", found)


def figures(done: Rollout) -> dict[str, Any]:
    """Of a rollout."""
    return {"state": done.state, "steps": [{"step": t.step, "at": iso(t.at)[:10], "decisions": t.decisions} for t in done.turns],
            "decisions": done.everybody[0], "worth_more_everybody": round(done.everybody[1], 2), "tried": done.tried[0],
            "worth_more_tried": round(done.tried[1], 2), "auc": done.ranking[0], "champion_auc": done.ranking[1],
            "gates": {name: _gate(verdict) for name, verdict in done.gates.items()}, "waits": done.waits,
            "replayed": done.replayed[0], "replay_mismatches": done.replayed[1]}


def _gate(verdict: Verdict) -> dict[str, Any]:
    return {"state": verdict.state, "value": verdict.interval.value, "low": verdict.interval.low, "high": verdict.interval.high,
            "needed": verdict.needed}


@contextmanager
def quiet(_: str, __: int = 0) -> Iterator[Any]:
    """No progress bar."""
    yield lambda _: None


if __name__ == "__main__":
    main(sys.argv[1])
