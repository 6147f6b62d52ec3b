"""The service as its callers see it: a real server in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.decision.replay import replay
from flightworthy.ground.errors import DataError
from flightworthy.operation.service.keys import Keys
from flightworthy.operation.service.serve import loopback
from tests.conftest import PILOTS, Trained
from tests.operation.running import Service

pytestmark = pytest.mark.timeout(120)


def test_decisions_outcomes_problems_and_the_description(start: Callable[[], Service], starter_trained: Trained, tmp_path: Path) -> None:
    service, lines = start(), starter_trained.lines("live", 40)
    described = service.call("GET", "/openapi.json")[1]
    schema = {**described["components"], "$ref": "#/schemas/Answer"}
    status, first = service.call("POST", "/v1/decisions", lines[0])
    Draft202012Validator(json.loads(json.dumps(schema).replace("#/components/", "#/"))).validate(first)
    assert (status, first["decision"], first["path"]) == (200, 1, ["champion"])
    assert service.call("POST", "/v1/decisions", lines[0]) == (200, first)  # the id is the idempotency key
    status, many = service.call("POST", "/v1/decisions", b"[" + b",".join([*lines[:3], b'{"invoice": 1}']) + b"]")
    assert status == 200 and many[0] == first and [m.get("decision") for m in many] == [1, 2, 3, None]
    assert many[3]["status"] == 422 and many[3]["type"].startswith("urn:flightworthy:problem:")
    for body, wanted in ((b"{", 422), (b"[1", 400), (b"", 422), (b"[" * 5000, 400), (lines[5][:-1] + b',"amount":1}', 422),
                         (lines[5].replace(b'"amount":', b'"amount":NaN,"x":'), 422), (b"x" * 2_000_000, 413),
                         (b"[" + b",".join([b"{}"] * 1001) + b"]", 413), (b"[]", 200), (b"\xff\xfe", 422)):
        status, said = service.call("POST", "/v1/decisions", body)
        assert status == wanted, (body[:50], said)
        assert status == 200 or {"type", "title", "status"} <= said.keys()
    name = first["id"]
    told = json.dumps({"invoice": name, "late": True}).encode()
    status, noted = service.call("POST", "/v1/outcomes", told)
    assert (status, noted["decision"]) == (200, 1)
    assert service.call("POST", "/v1/outcomes", told)[1] == noted
    assert service.call("POST", "/v1/outcomes", b'{"invoice":"nobody","late":true}')[0] == 409
    assert service.call("GET", "/v1/decisions")[0] == 405
    assert service.call("GET", "/nothing")[0] == 404
    counted = service.call("GET", "/metrics")[1]
    assert 'flightworthy_requests_total{route="/v1/decisions",status="200"}' in counted
    assert service.stop() == 0
    ledger = open_ledger("sqlite:///ledger.db", tmp_path / "var", read_only=True)
    assert ledger.last() == 4
    assert replay(starter_trained.pilot, ledger, tmp_path / "var" / "models").mismatches == 0
    ledger.close()


def test_the_kill_switch_works_at_once_and_after_a_restart(start: Callable[[], Service], starter_trained: Trained) -> None:
    service, lines = start(), starter_trained.lines("live", 10)
    assert service.call("GET", "/v1/kill-switch")[1] == {"on": False}
    run = [sys.executable, "-m", "flightworthy", "kill-switch", f"http://127.0.0.1:{service.port}"]
    assert b"kill switch on" in subprocess.check_output([*run, "--on", "--why", "drill"])
    assert service.call("POST", "/v1/decisions", lines[0])[1]["by"] == "baseline"
    assert subprocess.run([*run, "--off"], check=False, capture_output=True).returncode != 0  # no reason given
    assert service.stop() == 0
    service = start()
    assert b"kill switch on" in subprocess.check_output([*run[:-1], f"http://127.0.0.1:{service.port}"])
    assert service.call("PUT", "/v1/kill-switch", b'{"on": false, "why": "over"}')[0] == 200
    assert service.call("PUT", "/v1/kill-switch", b'{"on": 1}')[0] == 400
    assert service.call("POST", "/v1/decisions", lines[1])[1]["path"] == ["champion"]


def test_with_keys_each_route_wants_its_role(start: Callable[[], Service], starter_trained: Trained, tmp_path: Path) -> None:
    keys, now = Keys(tmp_path / "var" / "keys.json"), time.time_ns() // 1000
    made = {role: keys.new([role], now + 10**10, "test") for role in ("decide", "observe", "operate")}
    made["expired"] = keys.new(["decide", "observe", "operate"], now - 1)
    made["forged"] = made["operate"][:-4] + "AAAA"
    made["none"] = ""
    assert (tmp_path / "var" / "keys.json").stat().st_mode & 0o777 == 0o600
    assert not any(text.split("_", 2)[2] in (tmp_path / "var" / "keys.json").read_text() for text in made.values() if text)
    service = start()
    line, told = starter_trained.lines("live", 1)[0], b'{"invoice":"x","late":true}'
    routes = {("POST", "/v1/decisions", line): "decide", ("POST", "/v1/outcomes", told): "observe",
              ("GET", "/v1/kill-switch", None): "operate", ("PUT", "/v1/kill-switch", b"{}"): "operate", ("GET", "/metrics", None): "operate"}
    for (method, path, body), role in routes.items():
        for name, key in made.items():
            status = service.call(method, path, body, key)[0]
            assert status not in (401, 403) if name == role else status == (403 if name in ("decide", "observe", "operate") else 401)
    for path in ("/health/live", "/health/ready", "/openapi.json"):
        assert service.call("GET", path)[0] == 200
    keys.revoke(made["decide"].split("_")[1])
    time.sleep(0.6)  # the file is looked at twice a second
    assert service.call("POST", "/v1/decisions", line, made["decide"])[0] == 401


def test_nothing_listens_to_others_without_keys(starter_trained: Trained, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-m", "flightworthy", "serve", str(PILOTS / "starter"), "--var", str(tmp_path),
                          "--host", "0.0.0.0"], check=False, capture_output=True, text=True)
    assert run.returncode != 0 and "without a key" in run.stderr
    assert [loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [True, True, True, False, False]


def test_sigterm_under_load_fails_no_request_that_was_accepted(start: Callable[[], Service], starter_trained: Trained) -> None:
    service, lines = start(), starter_trained.lines("live", 600)
    answered: list[tuple[int, Any]] = []

    def caller(part: list[bytes]) -> None:
        for line in part:
            try:
                answered.append(service.call("POST", "/v1/decisions", line))
            except OSError:  # the port is closed: a balancer would go elsewhere
                return

    callers = [threading.Thread(target=caller, args=(lines[i::4],)) for i in range(4)]
    for thread in callers:
        thread.start()
    time.sleep(0.3)
    assert service.stop() == 0
    for thread in callers:
        thread.join()
    assert answered and {status for status, _ in answered} <= {200, 422, 503}
    again = start()
    for status, said in answered[:50]:
        if status == 200:
            line = next(one for one in lines if f'"{said["id"]}"'.encode() in one)
            assert again.call("POST", "/v1/decisions", line) == (200, said)


def test_keys_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Keys(tmp_path / "keys.json").all()
    with pytest.raises(DataError, match="no such role"):
        Keys(tmp_path / "other.json").new(["admin"], 1)
    with pytest.raises(DataError, match="no such key"):
        Keys(tmp_path / "other.json").revoke("x")
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]
