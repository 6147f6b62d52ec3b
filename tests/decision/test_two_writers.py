"""Two engines on one ledger: they take turns, and decide what one of them alone would have decided."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from services.postgres import Postgres

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.decision.engine import Engine
from flightworthy.decision.record import entries_of
from flightworthy.decision.replay import replay
from flightworthy.decision.rollout import roll_all
from flightworthy.decision.rooms import Rooms
from flightworthy.governance.ledger import DECISION, Block, Entries
from flightworthy.governance.ledger_checks import entries
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.moving import move
from flightworthy.ground.errors import DataError, LedgerError
from flightworthy.integration.contract import Rejection
from flightworthy.manifest.load import parse
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import Artifact, ModelStore
from tests.conftest import Trained


def _on(server: Postgres, trained: Trained, schema: str) -> Pilot:
    text = (trained.pilot.folder / "pilot.yaml").read_text()
    return parse(f"{text}\nadapters: {{ledger: '{server.url(schema)}'}}\n", folder=trained.pilot.folder)


@pytest.mark.server
def test_each_event_is_decided_once_and_as_one_writer_would(server: Postgres, starter_trained: Trained, tmp_path: Path) -> None:
    pilot = _on(server, starter_trained, "two_writers")
    shutil.copytree(starter_trained.var, tmp_path / "var")
    engines = [Engine.open(pilot, tmp_path / "var", snapshots=False) for _ in range(2)]
    lines = starter_trained.lines("live", 300)
    mine = [line for i, line in enumerate(lines) if i % 3 != 2], [line for i, line in enumerate(lines) if i % 3 != 0]
    answers: list[dict[str, Any]] = [{}, {}]
    failures: list[BaseException] = []
    side_by_side = threading.Barrier(2)

    def write(who: int) -> None:
        try:
            for i in range(0, 200, 2):
                side_by_side.wait(30)  # one far ahead would make the other's events late
                for result in engines[who].decide(mine[who][i : i + 2]):
                    assert not isinstance(result, Rejection), result
                    answers[who][result.id] = result
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    both = answers[0].keys() & answers[1].keys()
    assert len(both) == 100
    assert all(entries_of([answers[0][name]]) == entries_of([answers[1][name]]) for name in both)
    kept = [e.key for e in engines[0].ledger.scan(1, (DECISION,))]
    assert len(kept) == len(set(kept)) == len(answers[0].keys() | answers[1].keys()) == 300
    assert replay(pilot, engines[0].ledger, tmp_path / "var" / "models").mismatches == 0
    engines[1].act("note", "one", {"why": "turns"})
    store = ModelStore(engines[0].models_folder)
    challenger = Artifact({**store.champion().content, "challenger": True})
    store.save(challenger, champion=False)
    roll_all(engines[:1], "start", "one", "turns", challenger.digest)
    roll_all(engines[1:], "advance", "another", "turns")  # from where the other one brought it
    with pytest.raises(DataError, match="abort it first"):
        roll_all(engines[:1], "start", "one", "turns", challenger.digest)
    engines[0].decide(starter_trained.lines("live", 301)[300:])
    assert [engine.line.router.course.stage for engine in engines] == [1, 1]
    engines[0].kill(True, "another", "turns")
    engines[1].decide(lines[:1])
    assert engines[1].killed
    for engine in engines:
        engine.close()


@pytest.mark.server
def test_a_moved_ledger_proves_and_replays_the_same(server: Postgres, starter_trained: Trained, open_engine: Callable[..., Engine],
                                                    tmp_path: Path) -> None:
    engine = open_engine()
    assert engine.publisher is not None
    trusted = Policy([signer.verifier for signer in engine.publisher._signers])
    engine.decide([*starter_trained.lines("live", 300), b"{}"])
    engine.publisher.publish()
    engine.decide(starter_trained.lines("live", 600))
    engine.close()
    source = open_ledger("sqlite:///ledger.db", tmp_path / "var", read_only=True)
    target = Rooms.of(_on(server, starter_trained, "moved"), tmp_path / "var").open_ledger()
    for _ in range(2):  # the second time nothing is doubled
        assert move(source, target) == source.last()
        assert list(target.scan()) == list(source.scan())
        assert list(target.log.checkpoints()) == list(source.log.checkpoints()) != []
        assert target.quarantine_counts() == source.quarantine_counts() != {}
        assert audit(target, trusted).fine
    assert replay(starter_trained.pilot, target, tmp_path / "var" / "models").mismatches == 0
    other = open_ledger("sqlite:///other.db", tmp_path)
    other.commit(Block(Entries.of(entries(1, 3))))
    with pytest.raises(LedgerError, match="another ledger"):
        move(target, other)
    other.commit(Block(Entries.of(entries(4, target.last()))))
    with pytest.raises(LedgerError, match="another ledger"):
        move(target, other)
    for ledger in (source, target, other):
        ledger.close()
