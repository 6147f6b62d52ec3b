"""A new version beside a running engine, and decisions that were made beside its ledger."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flightworthy.decision.engine import Engine
from flightworthy.decision.reload import Renewed, renew
from flightworthy.decision.replay import replay
from flightworthy.decision.work import Arrivals, Spilled
from flightworthy.ground.errors import DataError, ManifestError, ModelError
from flightworthy.integration.contract import Rejection
from flightworthy.manifest.load import load
from flightworthy.model.asked import LoadedModel
from tests.conftest import PILOTS, Trained

RULE = "score * 0.02 * amount > 1.5"
DEFAULT = ("fallback: [previous, baseline]", "fallback: [previous, baseline, {then: wait}]")


def copy(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    folder = tmp_path / "pilot"
    folder.mkdir(exist_ok=True)
    text = (PILOTS / "starter" / "pilot.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "pilot.yaml").write_text(text)
    return folder


def test_another_policy_takes_over_with_the_state_as_it_is(open_engine: Callable[..., Engine], starter_trained: Trained,
                                                           tmp_path: Path) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 200)
    folder = copy(tmp_path, (RULE, "score > 2"))
    made = renew(engine, folder)  # before anything was decided: tried on a typical row
    engine.decide(lines[:100])
    made = renew(engine, folder)
    before = engine.state.digest()
    made.swap(engine)
    assert engine.state.digest() == before and engine.pilot.digest == load(folder).digest
    decided = [r for r in engine.decide(lines[100:]) if not isinstance(r, Rejection)]
    assert {r.action for r in decided if r.by == "champion"} == {"wait"}
    assert {r.pilot.hex() for r in decided} == {engine.pilot.digest}
    report = replay(load(folder), engine.ledger, engine.models_folder)
    assert report.mismatches == 0 and report.other_manifest > 0


def test_other_features_get_their_state_from_the_ledger(open_engine: Callable[..., Engine], starter_trained: Trained,
                                                        tmp_path: Path) -> None:
    engine, lines = open_engine(), starter_trained.lines("live", 300)
    engine.decide(lines[:100])
    folder = copy(tmp_path, ("windows: [90d, 365d]", "windows: [90d, 365d, 30d]"))
    with pytest.raises(ModelError, match="trained for another"):
        renew(engine, folder)
    from flightworthy.decision.line import Line
    from flightworthy.decision.recovery import advance_from_ledger

    line = Line(load(folder), {})
    state, seen = line.state(), engine.ledger.last()
    advance_from_ledger(line, state, engine.ledger, 1, seen)
    engine.decide(lines[100:200])  # the old version went on meanwhile
    Renewed(line, state, seen).swap(engine)
    fresh = line.state()
    advance_from_ledger(line, fresh, engine.ledger, 1)
    assert engine.state.digest() == fresh.digest()


def test_what_does_not_hold_is_refused(open_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    with pytest.raises(ManifestError):
        renew(engine, copy(tmp_path, (RULE, "scor > 1")))
    with pytest.raises(DataError, match="another pilot or another ledger"):
        renew(engine, copy(tmp_path, ("pilot: starter", "pilot: other")))
    with monkeypatch.context() as patched:
        patched.setattr(LoadedModel, "predict", lambda _, x: x[:, :1] * float("nan"))
        with pytest.raises(ModelError, match="not finite"):
            renew(engine, copy(tmp_path, (RULE, "score > 0.5")))
    shutil.rmtree(engine.models_folder)
    with pytest.raises(ModelError):
        renew(engine, copy(tmp_path, (RULE, "score > 0.5")))


def test_decisions_beside_the_ledger_are_the_defaults_and_replay(open_engine: Callable[..., Engine], starter_trained: Trained,
                                                                 tmp_path: Path) -> None:
    pilot = load(copy(tmp_path, DEFAULT))
    engine, lines = open_engine(pilot=pilot), starter_trained.lines("live", 120)
    first: list[Any] = engine.decide(lines[:20])
    spilled = [Spilled("no answer in time", 1000 + i, 2000 + i) for i in range(40)]
    results = engine.process(Arrivals(lines[10:50], engine.clock.now(), source="spill", spilled=spilled))
    again = [(r.seq, r.path) for r in results[:10] if not isinstance(r, Rejection)]
    assert again == [(r.seq, r.path) for r in first[10:20] if not isinstance(r, Rejection)]
    fresh = [(i, r) for i, r in enumerate(results[10:], 10) if not isinstance(r, Rejection)]
    assert {(r.action, r.by, tuple(r.path)) for _, r in fresh} == {("wait", "default", ("spilled: no answer in time", "default"))}
    assert all((r.arrived, r.decided) == (1000 + i, 2000 + i) for i, r in fresh)
    assert "holdout" in {r.arm for _, r in fresh}  # told the default too: that is what its caller heard
    assert replay(pilot, engine.ledger, engine.models_folder).mismatches == 0
    acts = engine.acts("service", [(f"answered:{json.loads(lines[0])['invoice']}", {"action": "wait"}), ("note", {"a": "b"})])
    assert [act.seq for act in acts] == [engine.ledger.last() - 1, engine.ledger.last()]
    assert engine.acts("service", []) == []
