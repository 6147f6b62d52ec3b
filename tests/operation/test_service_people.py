"""People ask a running service, and a pilot that rests: over HTTP, from the command line, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from services.postgres import Postgres

from flightworthy.adapters.keys.factory import open_files
from flightworthy.governance.privacy.keys import PrivacyKeys
from flightworthy.governance.privacy.vault import Cover
from flightworthy.operation.service.errands import SpilledRecord
from flightworthy.operation.service.spill import Spill
from tests.conftest import Trained
from tests.operation.running import Service

pytestmark = pytest.mark.timeout(120)
PRIVATE = "privacy: {subject: customer, fields: {terms: encrypt}, without_consent: baseline, retention: 1us}"


def told(*words: object) -> str:
    done = subprocess.run([sys.executable, "-m", "flightworthy", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(service: Service, act: str, *names: str) -> list[dict[str, object]]:
    status, body = service.call("POST", "/v1/people", json.dumps({"act": act, "names": names, "why": "asked"}).encode())
    assert status == 200, body
    return list(body)


def test_consent_and_erasure_over_http(start: Callable[..., Service], starter_trained: Trained) -> None:
    service = start(PRIVATE, ("--shards", "2"))
    lines = starter_trained.lines("live", 40)
    name = json.loads(lines[0])["customer_id"]
    assert [each["done"] for each in ask(service, "consent", name)] == [1, 1]  # whichever shard decides
    answers = service.call("POST", "/v1/decisions", b"[" + b",".join(lines) + b"]")[1]
    assert answers[0]["path"] == ["champion"]
    assert {tuple(a["path"]) for a, line in zip(answers, lines, strict=True) if json.loads(line)["customer_id"] != name} == {
        ("no-consent", "baseline")}
    shown = told("person", "show", service.pilot, name, "--var", service.var)
    assert json.loads(shown.splitlines()[1])["event"]["terms"] == json.loads(lines[0])["terms"]
    assert ask(service, "hold", "nobody")[0]["unknown"] == ["nobody"]
    done = told("person", "erase", f"http://127.0.0.1:{service.port}", name, "--why", "letter of today")
    assert [json.loads(line)["erased"] for line in done.splitlines()] == [1, 1]
    assert service.call("POST", "/v1/decisions", lines[0])[1]["id"] == answers[0]["id"]
    for wrong, status in (({"act": "praise", "names": ["a"], "why": ""}, 400), ({"act": "erase", "names": [], "why": ""}, 400),
                          ({"act": "erase", "names": ["a"] * 1001, "why": ""}, 413), ({"act": "erase"}, 400)):
        assert service.call("POST", "/v1/people", json.dumps(wrong).encode())[0] == status
    plain = any(name.encode() in file.read_bytes() for file in service.var.rglob("*") if file.is_file())
    assert not plain, "the name lies on the disk"
    assert service.stop() == 0


def test_a_pilot_without_people_says_so(start: Callable[..., Service]) -> None:
    service = start()
    status, body = service.call("POST", "/v1/people", b'{"act": "erase", "names": ["a"], "why": "x"}')
    assert (status, body["title"]) == (409, "this pilot's manifest names no people")


@pytest.mark.server
def test_a_service_over_postgresql_and_one_that_stands_by(start: Callable[..., Service], starter_trained: Trained, server: Postgres,
                                                          tmp_path: Path) -> None:
    url = server.url("stands_by")
    service = start(f"{PRIVATE}\nadapters: {{ledger: '{url}'}}")
    lines = starter_trained.lines("live", 40)
    before = service.call("POST", "/v1/decisions", b"[" + b",".join(lines) + b"]")[1]
    name = json.loads(lines[0])["customer_id"]
    other = Service(_copy(service.var, tmp_path / "elsewhere"), f"{PRIVATE}\nadapters: {{ledger: '{url}'}}", wait=False)
    try:
        assert service.call("POST", "/v1/decisions", lines[1])[1] == before[1]
        assert service.stop() == 0
        other.wait()  # it took over
        assert other.call("POST", "/v1/decisions", lines[2])[1] == before[2]
        assert other.stop() == 0
    finally:
        other.end()
    assert json.loads(told("person", "erase", service.pilot, name, "--why", "letter", "--var", service.var))["erased"] == 1
    assert "records expired" in told("ledger", "expire", service.pilot, "--var", service.var)
    assert "lie under a new one" in told("ledger", "rewrap", service.pilot, "--var", service.var)
    assert "as it was written" in told("audit", "verify", service.pilot, "--var", service.var)


def _copy(var: Path, to: Path) -> Path:
    shutil.copytree(var, to, ignore=shutil.ignore_patterns("*.lock", "*.log", "*.ndjson"))
    return to


def test_what_is_spilled_is_covered_in_its_file(tmp_path: Path) -> None:
    cover = Cover(PrivacyKeys(open_files("file:///keys", tmp_path)))

    async def spill() -> None:
        held = Spill(tmp_path / "spill.ndjson", cover)
        written: list[bool] = []
        held.add(SpilledRecord("e1", b'{"customer_id": "Ada"}', "why", 1, 2, "wait"), written.append)
        while not written:
            await asyncio.sleep(0.01)
        held.close()
        assert written == [True]

    asyncio.run(spill())
    assert b"Ada" not in (tmp_path / "spill.ndjson").read_bytes()
    again = Spill(tmp_path / "spill.ndjson", cover)
    assert again.held["e1"].raw == b'{"customer_id": "Ada"}'
    again.close()
