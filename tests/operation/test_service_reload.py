"""Reload, kill switch under hanging, TLS, tokens and rates: a real service."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import ACT
from tests.conftest import Trained
from tests.operation.running import Service
from tests.operation.test_service_faults import good

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
Start = Callable[..., Service]
RULE = "score * 0.02 * amount > 1.5"


def test_a_reload_swaps_versions_as_a_whole_and_refuses_what_does_not_hold(start: Start, starter_trained: Trained) -> None:
    service, lines = start("service: {deadline: 2s}"), good(starter_trained, 400)
    answers: list[Any] = []
    stop = threading.Event()

    def caller() -> None:
        for line in lines[1:300]:
            if stop.is_set():
                return
            answers.append(service.call("POST", "/v1/decisions", line))

    first = service.call("POST", "/v1/decisions", lines[0])[1]
    thread = threading.Thread(target=caller)
    thread.start()
    service.write("service: {deadline: 2s}", (RULE, "score > 2"))  # nobody is reminded
    status, said = service.call("POST", "/v1/reload", b'{"why": "fewer letters"}')
    assert status == 200 and said["pilot"] != first["pilot"] and said["who"] == "loopback"
    for broken in ("scor > 1", "amount"):
        service.write("service: {deadline: 2s}", (RULE, broken))
        status, refused = service.call("POST", "/v1/reload", b'{"why": "oops"}')
        assert status == 409 and refused["type"].endswith(":operation"), refused
    (service.pilot / "pilot.yaml").write_text("pilot: [")
    assert service.call("POST", "/v1/reload", b'{"why": "oops"}')[0] == 409
    stop.set()
    thread.join()
    assert service.call("POST", "/v1/decisions", lines[350])[1]["pilot"] == said["pilot"]
    assert service.call("POST", "/v1/decisions", lines[0])[1] == first  # decided then, answered so now
    assert {status for status, _ in answers} == {200}
    assert {body["pilot"] for _, body in answers} <= {first["pilot"], said["pilot"]}
    assert all(body["action"] == "wait" for _, body in answers if body["pilot"] == said["pilot"] and body["by"] == "champion")
    assert service.call("POST", "/v1/reload", b'{"because": 1}')[0] == 400
    assert service.stop() == 0
    ledger = open_ledger("sqlite:///ledger.db", service.var, read_only=True)
    assert [entry.key for entry in ledger.scan(1, (ACT,))] == ["reload"]
    ledger.close()


def test_shards_swap_together_or_not_at_all(start: Start, starter_trained: Trained) -> None:
    """What one of two shards has not made ready, the other does not swap to."""
    service, lines = start("service: {deadline: 2s}", args=("--shards", "2")), good(starter_trained, 60)

    def pilots() -> set[str]:
        said = [service.call("POST", "/v1/decisions", lines.pop(0)) for _ in range(8)]
        assert {status for status, _ in said} == {200}, said
        return {body["pilot"] for _, body in said}

    first = pilots()
    service.write("service: {deadline: 2s}", (RULE, "score > 2"))
    assert pilots() == first and len(first) == 1
    status, said = service.call("POST", "/v1/reload", b'{"why": "fewer letters"}')
    assert status == 200 and pilots() == {said["pilot"]} != first
    service.write("service: {deadline: 2s}", (RULE, "scor > 1"))
    assert service.call("POST", "/v1/reload", b'{"why": "oops"}')[0] == 409 and pilots() == {said["pilot"]}
    stopped = service.shards()[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        service.write("service: {deadline: 2s}", (RULE, "score > 3"))
        told: list[tuple[int, Any]] = []
        asking = threading.Thread(target=lambda: told.append(service.call("POST", "/v1/reload", b'{"why": "again"}')))
        asking.start()
        time.sleep(1.0)
        assert service.call("GET", "/v1/shards")[1][0]["state"]["pilot"] == said["pilot"] and not told  # it is ready, and waits
        assert service.call("GET", "/v1/kill-switch")[1] == {"on": False}
    finally:
        os.kill(stopped, signal.SIGCONT)
    asking.join(40)
    assert told[0][0] == 200 and pilots() == {told[0][1]["pilot"]} != {said["pilot"]}


def test_sighup_reloads_and_what_does_not_hold_is_in_the_log(start: Start, starter_trained: Trained) -> None:
    service, lines = start("service: {deadline: 2s}"), good(starter_trained, 4)
    first = service.call("POST", "/v1/decisions", lines[0])[1]["pilot"]

    def after(change: tuple[str, str]) -> str:
        service.write("service: {deadline: 2s}", change)
        service.process.send_signal(signal.SIGHUP)
        until, lines_of_log = time.monotonic() + 20, len(service.log().splitlines())
        while time.monotonic() < until and len(service.log().splitlines()) == lines_of_log and \
                service.call("GET", "/v1/shards")[1][0]["state"]["pilot"] == first:
            time.sleep(0.05)
        return str(service.call("POST", "/v1/decisions", lines.pop())[1]["pilot"])

    assert after((RULE, "scor > 1")) == first and "the new version was refused" in service.log()
    second = after((RULE, "score > 2"))
    assert second != first and service.process.poll() is None


def test_other_features_are_rebuilt_from_the_ledger_or_refused(start: Start, starter_trained: Trained) -> None:
    service, lines = start("service: {deadline: 2s}"), good(starter_trained, 20)
    for line in lines:
        service.call("POST", "/v1/decisions", line)
    service.write("service: {deadline: 2s}", ("windows: [90d, 365d]", "windows: [30d, 365d]"))
    status, said = service.call("POST", "/v1/reload", b'{"why": "another window"}')
    assert status == 409 and "model" in said["detail"]  # the model was trained for other features


def test_tokens_roles_and_rates(start: Start, starter_trained: Trained, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "a", "use": "sig", "alg": "ES256"}]}))
    service = start("service: {rate: 5, oidc: {issuer: 'https://id.example.org', audience: pilot, jwks: '"
                    f"{tmp_path / 'jwks.json'}', roles: {{desk: decide}}}}}}")

    def token(**claims: Any) -> str:
        now = int(time.time())
        made = {"iss": "https://id.example.org", "aud": "pilot", "sub": "ada", "exp": now + 60, "roles": ["desk"], **claims}
        return jwt.encode(made, key, "ES256", {"kid": "a"})

    lines = good(starter_trained, 5)
    assert service.call("POST", "/v1/decisions", lines[0])[0] == 401
    assert service.call("POST", "/v1/decisions", lines[0], token())[0] == 200
    assert service.call("GET", "/metrics", key=token())[0] == 403
    for wrong in ({"aud": "other"}, {"iss": "https://else.example.org"}, {"exp": 1}):
        assert service.call("POST", "/v1/decisions", lines[0], token(**wrong))[0] == 401
    assert service.call("POST", "/v2/models/starter/infer", b"{}")[1].keys() == {"error"}
    body = b"[" + b",".join([lines[1]] * 700) + b"]"
    assert service.call("POST", "/v1/decisions", body, token())[0] == 200
    status, headers, raw = service.raw("POST", "/v1/decisions", body, {"Authorization": f"Bearer {token()}"})
    assert status == 429 and int(headers["retry-after"]) > 60 and json.loads(raw)["type"].endswith(":rate")
    assert token() not in service.log() and "ada" not in service.log()


def test_tls_with_modern_defaults(start: Start, starter_trained: Trained, tmp_path: Path) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / "key.pem"),
                    "-out", str(tmp_path / "cert.pem")], check=True, capture_output=True)
    service = start(args=("--certificate", str(tmp_path / "cert.pem"), "--private-key", str(tmp_path / "key.pem")), wait=False)
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    url = f"https://localhost:{service.port}"
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", context=context, timeout=5) as reply:
                assert reply.status == 200
                break
        except OSError:
            assert time.monotonic() < until, service.log()
            time.sleep(0.1)
    request = urllib.request.Request(f"{url}/v1/decisions", good(starter_trained, 1)[0])
    with urllib.request.urlopen(request, context=context, timeout=10) as reply:
        assert json.load(reply)["decision"] == 1
    old = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"(?i)ssl|handshake|protocol"):
        urllib.request.urlopen(f"{url}/health/live", context=old, timeout=5)
