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
        [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", f"{url}/openapi.json", "--url", url, "--max-examples", "60", "--seed", "1",
         "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
         "--phases", "examples,coverage,fuzzing", "--exclude-path", "/health/ready", "--no-color"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert ("Coverage" in done.stdout and "test cases" in done.stdout.lower()) or "passed" in done.stdout.lower(), done.stdout[-2000:]
    assert service.call("GET", "/health/ready")[0] == 200
