"""Evidence per article, from a real ledger."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.decision.engine import Engine
from flightworthy.decision.people import consent, erase
from flightworthy.delivery.compliance import controls, gather, render
from flightworthy.governance.ledger import DECISION
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.policy import Policy
from tests.conftest import Trained
from tests.decision.test_privacy import names, private

FAR = 2**62


def test_figures_are_those_of_the_ledger(starter_trained: Trained, open_engine: Callable[..., Engine]) -> None:
    pilot = private(starter_trained, ", retention: 7d, purpose: dunning")
    engine, lines = open_engine(pilot=pilot), starter_trained.lines("live", 200)
    engine.decide([*lines, b"{}"])
    consent(engine, names(lines)[0], True, "crm", "form")
    erase(engine, names(lines)[1:2], "dpo", "letter")
    engine.kill(True, "ops", "drill")
    facts = gather(pilot, [engine.ledger], -FAR, FAR)
    assert (facts.kinds[DECISION], facts.sealed, facts.people, facts.quarantined) == (200, 200, len(set(names(lines))) - 1, 1)
    assert dict(facts.acts) == {"consent": 1, "erasure": 1, "kill-switch": 1}
    assert (facts.given, facts.withdrawn, set(facts.actors)) == (1, 0, {"crm", "dpo", "ops"})
    assert facts.actions.total() == 200
    assert gather(pilot, [engine.ledger], -FAR, 0).kinds[DECISION] == 0
    assert engine.publisher is not None
    engine.publisher.publish()
    facts.audits = [audit(engine.ledger, Policy([s.verifier for s in engine.publisher._signers]))]
    text = render(pilot, facts)
    for said in ("1 erasures", "purpose `dunning`", "retention 7d", "203 entries, 1 checkpoints (0 seen by witnesses): as written",
                 "kill switch turned 1 times", "Evidence, not a legal determination"):
        assert said in text, said
    places = {(c.law, c.place) for c in controls(pilot, facts)}
    assert {("GDPR", f"Art. {n}") for n in (15, 17, 22, 30)} | {("AI Act", f"Art. {n}") for n in (12, 19, 26)} | {
        ("HIPAA", f"164.{n}") for n in ("312(b)", "312(c)", "316")} == places
    assert all(c.owner and c.evidence for c in controls(pilot, facts))


def test_the_command_fails_where_the_ledger_does_not_verify(starter_trained: Trained, open_engine: Callable[..., Engine],
                                                            tmp_path: Path) -> None:
    engine = open_engine()
    engine.decide(starter_trained.lines("live", 20))
    engine.close()

    def told(code: int) -> str:
        done = subprocess.run([sys.executable, "-m", "flightworthy", "audit", "report", str(starter_trained.pilot.folder), "--var",
                               str(tmp_path / "var"), "--out", str(tmp_path / "report.md"), "--since", "2020-01-01T00:00:00Z"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return (tmp_path / "report.md").read_text()

    assert "20 decisions, 0 outcomes, 0 acts" in told(0)
    ledger = SqliteLedger(tmp_path / "var" / "ledger.db")
    assert ledger._writer is not None
    ledger._writer.execute("UPDATE event SET seq = 3 WHERE seq = 4")
    ledger.close()
    assert "FINDING: the index leads from event" in told(1)
