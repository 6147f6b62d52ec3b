"""Clients that others wrote: tritonclient, and schemathesis with what our own description promises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Trained
from tests.operation.running import Service

pytestmark = [pytest.mark.timeout(300)]


def test_tritonclient_works_unchanged(start: Callable[..., Service], starter_trained: Trained) -> None:
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException

    service = start()
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("starter")
    assert client.is_model_ready("starter", "1") and not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "flightworthy"
    described = {tensor["name"]: tensor["datatype"] for tensor in client.get_model_metadata("starter")["inputs"]}
    rows = [row for row in map(_row, starter_trained.lines("live", 60)) if row is not None][:5]

    def inputs(binary: bool) -> list[triton.InferInput]:
        made = []
        for name, kind in described.items():
            values = np.array([row[name] for row in rows], np.object_ if kind == "BYTES" else np.float64)
            tensor = triton.InferInput(name, [len(rows)], kind)
            tensor.set_data_from_numpy(values, binary_data=binary)
            made.append(tensor)
        return made

    first = client.infer("starter", inputs(True))
    again = client.infer("starter", inputs(False), outputs=[triton.InferRequestedOutput("action", binary_data=False),
                                                           triton.InferRequestedOutput("decision")])
    assert first.as_numpy("id").astype(str).tolist() == [row["invoice"] for row in rows]
    assert first.as_numpy("decision").tolist() == again.as_numpy("decision").tolist() == [1, 2, 3, 4, 5]
    assert first.as_numpy("action").astype(str).tolist() == again.as_numpy("action").astype(str).tolist()
    assert np.isfinite(first.as_numpy("score")).all()
    with pytest.raises(InferenceServerException, match=r"unknown|missing|required|no input"):
        client.infer("starter", inputs(True)[:1])
    with pytest.raises(InferenceServerException):
        client.infer("nothing", inputs(True))
    client.close()
    status, _, body = service.raw("POST", "/v2/models/starter/infer", b"{}", {"Content-Encoding": "gzip"})
    assert (status, list(json.loads(body))) == (415, ["error"])
    assert "error" in service.call("GET", "/v2/models/nothing")[1]


def _row(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("amount"), float) and isinstance(row.get("terms"), str) else None


@pytest.mark.slow
def test_schemathesis_finds_no_server_error_and_no_status_we_do_not_describe(start: Callable[..., Service], tmp_path: Path) -> None:
    service = start()
    url = f"http://127.0.0.1:{service.port}"
    done = subprocess.run(
        [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", f"{url}/openapi.json",
         "--url", url, "--max-examples", "60", "--seed", "1",
         "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
         "--phases", "examples,coverage,fuzzing", "--exclude-path", "/health/ready", "--no-color"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert service.call("GET", "/health/ready")[0] == 200


def test_a_client_generated_from_the_description_works(start: Callable[..., Service], starter_trained: Trained, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    service = start()
    url = f"http://127.0.0.1:{service.port}"
    (tmp_path / "openapi.json").write_bytes(service.raw("GET", "/openapi.json")[2])
    (tmp_path / "config.yaml").write_text("post_hooks: []\npackage_name_override: generated_client\n")
    subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(tmp_path / "openapi.json"), "--meta", "none",
         "--output-path", str(tmp_path / "generated_client"), "--config", str(tmp_path / "config.yaml"), "--fail-on-warning"],
        check=True, cwd=tmp_path, timeout=120)
    monkeypatch.syspath_prepend(tmp_path)
    from generated_client import AuthenticatedClient  # type: ignore[import-not-found]
    from generated_client.api.default import decide, live, observe, ready, shards, switch, turn  # type: ignore[import-not-found]
    from generated_client.models import Answer, Event, Noted, Outcome, Problem, TurnBody  # type: ignore[import-not-found]

    rows = [row for row in map(_row, starter_trained.lines("live", 60)) if row is not None][:4]
    nobody = "who-calls-from-loopback"
    with AuthenticatedClient(base_url=url, token=nobody) as client:
        assert live.sync_detailed(client=client).status_code == 200 and ready.sync_detailed(client=client).status_code == 200
        one = decide.sync(client=client, body=Event.from_dict(rows[0]))
        assert isinstance(one, Answer) and (one.id, one.decision) == (rows[0]["invoice"], 1) and one.path == ["champion"]
        assert 0 < one.outputs["score"] < 1 and one.durable
        many = decide.sync(client=client, body=[Event.from_dict(row) for row in rows])
        assert many[0] == one and [answer.decision for answer in many] == [1, 2, 3, 4]
        bad = decide.sync_detailed(client=client, body=Event.from_dict({**rows[0], "invoice": "other", "amount": -1e9}))
        assert bad.status_code == 422 and isinstance(bad.parsed, Problem) and bad.parsed.field == "amount"
        told = observe.sync(client=client, body=Outcome.from_dict({"invoice": rows[0]["invoice"], "late": True}))
        assert isinstance(told, Noted) and told.decision == 1
        turn.sync_detailed(client=client, body=TurnBody(on=True, why="drill"))
        assert json.loads(switch.sync_detailed(client=client).content) == {"on": True}
        assert decide.sync(client=client, body=Event.from_dict({**rows[1], "invoice": "after"})).by == "baseline"
        assert len(json.loads(shards.sync_detailed(client=client).content)) == 1
