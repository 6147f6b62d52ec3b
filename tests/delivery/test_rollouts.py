"""Rollouts of a demonstration: one challenger after the other over the same stream, each settled and replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flightworthy.decision.rooms import Rooms
from flightworthy.delivery.report import pictures
from flightworthy.delivery.rollouts import rehearse
from flightworthy.governance.ledger import DECISION, OUTCOME
from flightworthy.ground.canonical import digest
from flightworthy.manifest.check import instant
from flightworthy.manifest.schema import Least
from flightworthy.model.artifact import Artifact, ModelStore
from flightworthy.operation import learn
from flightworthy.operation.feed import Lot, merged
from flightworthy.operation.stream import batches
from tests.conftest import Trained


@contextmanager
def quiet(_: str, __: int = 0) -> Iterator[Any]:
    yield lambda _: None


def test_a_challenger_is_followed_to_its_end_and_settled(starter_trained: Trained, tmp_path: Path) -> None:
    pilot = starter_trained.pilot
    rollout = pilot.manifest.rollout.model_copy(update={"stages": [0.0, 0.4], "automatic": True, "tolerance": 0.3, "least": Least(
        decisions=20, time="1d"), "value": "counterfactual"})
    pilot = replace(pilot, manifest=pilot.manifest.model_copy(update={"rollout": rollout}))
    champion = ModelStore(starter_trained.var / "models").champion()
    same = Artifact({**champion.content, "challenger": True})
    folder = tmp_path / "pilot"
    folder.mkdir()
    (folder / "silent.py").write_text(
        "import numpy as np\nclass Silent:\n    def fit(self, x, y, recipe): raise NotImplementedError\n"
        "    def open(self, parts): return self\n    def predict(self, x): return np.full(len(x), np.nan)\n")
    code = digest((folder / "silent.py").read_bytes()).hex()
    silent = Artifact({**champion.content, "flavour": "python:silent.py:Silent", "code": code})
    pilot = replace(pilot, folder=folder)
    live = [learn.open_source(str(starter_trained.data / starter_trained.made[name]), pilot) for name in ("history", "live")]
    outcomes = [*starter_trained.lines("history_outcomes"), *starter_trained.lines("live_outcomes")]
    now = instant(starter_trained.made["now"])

    def lots() -> Iterator[Lot]:
        return batches(merged(pilot, live[1].chunks(), outcomes, now, live[0].chunks()), 100)

    told = {"challengers": [{"name": "same", "says": "the champion again"}, {"name": "silent", "says": "has no answers"}]}
    done = rehearse(pilot, told, (champion, {"same": same, "silent": silent}), now, lots, tmp_path / "rooms", quiet, 0, batch=100)
    calm, broken = done
    assert calm.state == "running" and calm.replayed[1] == 0 and calm.everybody[1] == 0.0
    assert broken.state == "aborted" and broken.replayed[1] == 0 and broken.turns[-1].why.startswith("failures: roll back")
    broken.seen = broken.seen[:1]
    assert pictures.rollout(broken, "EUR") == ""  # one look is no line
    ledger = Rooms.of(pilot, tmp_path / "rooms" / "silent").open_ledger(read_only=True)
    decided, told_of = (sum(1 for _ in ledger.scan(1, (kind,))) for kind in (DECISION, OUTCOME))
    assert 100 <= decided < len(starter_trained.lines("live")) and told_of > 0  # it stops deciding, outcomes still come in
    assert "no_decision" not in {reason for _, reason in ledger.quarantine_counts()}
    ledger.close()
