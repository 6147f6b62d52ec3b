"""What another model would have decided."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.fallback import CHAMPION
from flightworthy.decision.route import HOLDOUT
from flightworthy.decision.valuation import judge
from flightworthy.decision.whatif import what_if
from flightworthy.governance.ledger import DECISION
from flightworthy.ground.errors import ModelError
from flightworthy.manifest.load import parse
from flightworthy.model.artifact import ModelStore
from flightworthy.model.asked import LoadedModel
from flightworthy.operation import learn
from tests.conftest import Trained

FAR = 2**62


@pytest.fixture
def decided(open_engine: Callable[..., Engine], starter_trained: Trained) -> Engine:
    engine = open_engine()
    lines = starter_trained.lines("live", 500)
    engine.decide(lines)
    known = {json.loads(line)["invoice"] for line in lines}
    engine.observe([line for line in starter_trained.lines("live_outcomes") if json.loads(line)["invoice"] in known])
    return engine


def _other(trained: Trained, folder: Path, **change: int) -> LoadedModel:
    text = (trained.pilot.folder / "pilot.yaml").read_text().replace("rounds: 60", "rounds: 3")
    pilot = parse(text, folder=trained.pilot.folder)
    told = learn.outcomes_by_id(pilot, (trained.data / trained.made["history_outcomes"]).read_bytes().splitlines())
    from flightworthy.integration.sources import rows

    past = rows(learn.open_source(str(trained.data / trained.made["history"]), pilot).chunks())
    learned = learn.learn(pilot, learn.labelled(pilot, past, told), folder)
    return LoadedModel(learned.trained.artifact, pilot.folder)


def test_the_same_model_decides_the_same(decided: Engine) -> None:
    found = what_if(decided.pilot, decided.ledger, decided.line.chain.models[CHAMPION], -FAR, FAR, FAR)
    assert (found.bits, found.actions, found.changes, found.difference) == (0, 0, {}, 0)
    assert found.decisions + found.held_out == 500
    assert found.held_out > 0
    judged = [j for j in judge(decided.pilot, decided.ledger, FAR) if j.record.arm != HOLDOUT and j.label is not None]
    assert (found.priced, found.worth) == (len(judged), sum((j.value for j in judged), Decimal(0)))


def test_another_model_differs_in_bits_actions_and_money(decided: Engine, starter_trained: Trained, tmp_path: Path) -> None:
    other = _other(starter_trained, tmp_path / "other")
    found = what_if(decided.pilot, decided.ledger, other, -FAR, FAR, FAR)
    assert found.bits == found.decisions
    assert 0 < found.actions == sum(found.changes.values()) < found.decisions
    assert found.worth_instead != found.worth
    records = [decided.line.records.read(e) for e in decided.ledger.scan(1, (DECISION,))]
    middle = records[250].arrived
    parts = [what_if(decided.pilot, decided.ledger, other, a, b, FAR) for a, b in ((-FAR, middle), (middle, FAR))]
    assert sum(p.actions for p in parts) == found.actions
    assert sum((p.difference for p in parts), Decimal(0)) == found.difference


def test_a_model_of_other_features_is_refused(decided: Engine) -> None:
    artifact = ModelStore(decided.models_folder).champion()
    changed = LoadedModel(replace(artifact, content={**artifact.content, "recipe_digest": "other"}), decided.pilot.folder)
    with pytest.raises(ModelError, match="another contract"):
        what_if(decided.pilot, decided.ledger, changed, -FAR, FAR, FAR)


def test_the_command(decided: Engine, starter_trained: Trained, tmp_path: Path) -> None:
    decided.close()
    var, digest = tmp_path / "var", ModelStore(tmp_path / "var" / "models").history()[0]

    def told(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "flightworthy", "replay", str(starter_trained.pilot.folder), "--var", str(var),
                               *words], capture_output=True, text=True, check=False)

    assert "0 other outputs, 0 other actions" in told("--model", digest[:10]).stdout
    assert json.loads(told("--model", digest, "--json", "--until", "2020-01-01T00:00:00Z").stdout)["decisions"] == 0
    assert "no such model" in told("--model", "zz").stderr
