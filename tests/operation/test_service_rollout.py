"""A rollout of a running service: every step at once, on every shard, without a failed request, and still there after a restart."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.decision.replay import replay
from flightworthy.model.artifact import Artifact, ModelStore
from tests.conftest import Trained
from tests.operation.running import Service

pytestmark = pytest.mark.timeout(180)


def stored(var: Path, **changes: Any) -> str:
    """A challenger in the model store; its digest."""
    store = ModelStore(var / "models")
    made = Artifact({**store.champion().content, "challenger": True, **changes})
    store.save(made, champion=False)
    return made.digest


def step(service: Service, name: str, model: str = "") -> tuple[int, Any]:
    return service.call("PUT", "/v1/rollout", json.dumps({"step": name, "why": "test", "model": model}).encode())


def test_steps_under_load_fail_no_request_and_promotion_changes_the_champion(start: Callable[..., Service], starter_trained: Trained,
                                                                             tmp_path: Path) -> None:
    service, lines, name = start(), starter_trained.lines("live", 1500), stored(tmp_path / "var")
    answers: list[tuple[int, Any]] = []

    def load() -> None:
        answers.extend(service.call("POST", "/v1/decisions", line) for line in lines)

    caller = threading.Thread(target=load)
    caller.start()
    try:
        assert step(service, "start", name[:12])[0] == 200
        assert step(service, "start", name)[0] == 409
        assert [told["rollout"].split(":")[1] for told in step(service, "advance")[1]] == [" running, stage 2 of 3, 0.2 of all not held out"]
        assert step(service, "hold")[0] == 200
        assert step(service, "advance")[0] == 409
        assert step(service, "resume")[0] == 200
        assert step(service, "promote")[0] == 409
        assert step(service, "advance")[0] == 200
        asked = len(answers) + 200
        while len(answers) < min(asked, len(lines)):
            caller.join(0.01)
        assert step(service, "promote")[0] == 200
    finally:
        caller.join()
    assert Counter(status for status, _ in answers) == {200: len(lines)}
    assert {tuple(said["path"]) for _, said in answers} == {("champion",), ("challenger",)}
    assert service.call("GET", "/v1/shards")[1][0]["state"] is not None
    assert service.call("GET", "/v1/rollout")[1][0]["state"] == "promoted"
    assert ModelStore(tmp_path / "var" / "models").history()[-1] == name
    assert service.stop() == 0
    ledger = open_ledger("sqlite:///ledger.db", tmp_path / "var", read_only=True)
    report = replay(starter_trained.pilot, ledger, tmp_path / "var" / "models")
    ledger.close()
    assert (report.decisions, report.mismatches) == (len(lines), 0)


def test_the_command_line_rolls_a_service_with_shards_and_a_pilot_that_rests(start: Callable[..., Service], starter_trained: Trained,
                                                                             tmp_path: Path) -> None:
    name, var = stored(tmp_path / "var"), str(tmp_path / "var")

    def run(command: str, target: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "flightworthy", "rollout", command, target, *more], check=False,
                              capture_output=True, text=True)

    service = start(args=("--shards", "2"))
    url = f"http://127.0.0.1:{service.port}"
    assert run("status", url).stdout.splitlines() == ["no rollout"] * 2
    begun = run("start", url, "--model", name[:12], "--why", "new data")
    assert begun.stdout.count("stage 1 of 3") == 2, begun.stderr
    assert run("hold", url, "--why", "").returncode != 0
    assert "no such model" in run("start", url, "--model", "feed", "--why", "x").stderr
    assert run("advance", url, "--why", "calm").stdout.count("stage 2 of 3") == 2
    assert service.stop() == 0
    folder = str(starter_trained.pilot.folder)
    assert run("status", folder, "--var", var).stdout.count("stage 2 of 3, 0.2 of all") == 2
    assert run("abort", folder, "--why", "enough", "--var", var).stdout.count("aborted") == 2
    service = start(args=("--shards", "2"))
    assert {told["state"] for told in service.call("GET", "/v1/rollout")[1]} == {"aborted"}
    assert service.stop() == 0
    told = run("history", folder, "--var", var, "--json").stdout.splitlines()
    assert Counter(json.loads(line)["step"] for line in told) == {"start": 2, "advance": 2, "abort": 2}
    assert "new data" in run("history", folder, "--var", var).stdout


def test_the_watch_rolls_a_running_service_back(start: Callable[..., Service], starter_trained: Trained, tmp_path: Path) -> None:
    """Its challenger is gone after a restart: every decision of that arm falls back to the champion, and is counted."""
    service, name = start(), stored(tmp_path / "var")
    assert step(service, "start", name)[0] == step(service, "advance")[0] == step(service, "advance")[0] == 200
    assert service.stop() == 0
    (tmp_path / "var" / "models" / f"{name}.json").unlink()
    service = start()
    body = b"[" + b",".join(starter_trained.lines("live", 300)) + b"]"
    answered = service.call("POST", "/v1/decisions", body)[1]
    assert {tuple(said["path"]) for said in answered} == {("champion",), ("challenger: not loaded", "champion")}
    url, folder = f"http://127.0.0.1:{service.port}", str(starter_trained.pilot.folder)
    run = [sys.executable, "-m", "flightworthy", "rollout"]
    watched = subprocess.run([*run, "watch", folder, "--service", url, "--every", "100ms", "--var", str(tmp_path / "var")],
                             check=False, capture_output=True, text=True, timeout=60)
    assert watched.returncode == 0 and "rolled back; failures: roll back" in watched.stdout, watched.stderr
    assert service.call("GET", "/v1/rollout")[1][0]["state"] == "aborted"
    assert service.call("PUT", "/v1/rollout", b'{"step": "abort", "why": "late", "rollout": 7}')[0] == 409
    late = subprocess.run([*run, "approve", url, "1", "--why", "late"], check=False, capture_output=True, text=True)
    assert late.returncode != 0 and "no such rollout is under way" in late.stderr
    assert service.call("POST", "/v1/rollout/approvals", b'{"rollout": 1, "why": ""}')[0] == 400
    again = subprocess.run([*run, "watch", folder, "--service", url, "--var", str(tmp_path / "var")], check=False,
                           capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "no rollout is under way" in again.stdout
