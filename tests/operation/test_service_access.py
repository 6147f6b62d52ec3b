"""Who may do what: every route with every role, and with every key and token that must not pass, against a running service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flightworthy.operation.service.keys import Keys
from tests.operation.running import Service
from tests.operation.test_tokens import OURS, PEM, WHO, Server, signed

ROLES = ("decide", "observe", "operate", "approve")
ROUTES = {
    ("POST", "/v1/decisions"): "decide", ("POST", "/v2/models/starter/infer"): "decide",
    ("POST", "/v2/models/starter/versions/1/infer"): "decide", ("GET", "/v2/models/starter"): "decide", ("POST", "/v1/outcomes"): "observe",
    ("GET", "/v1/kill-switch"): "operate", ("PUT", "/v1/kill-switch"): "operate", ("POST", "/v1/reload"): "operate",
    ("POST", "/v1/people"): "operate", ("GET", "/v1/rollout"): "operate", ("PUT", "/v1/rollout"): "operate",
    ("POST", "/v1/rollout/approvals"): "approve",
    ("GET", "/v1/log/{shard}/checkpoint"): "observe", ("GET", "/v1/shards"): "operate", ("GET", "/metrics"): "operate"}
OPEN = ("/health/live", "/health/ready", "/openapi.json", "/v2/health/live", "/v2/health/ready")


def token(key: str = "rsa", header: dict[str, Any] | None = None, secret: bytes = b"", **claims: Any) -> str:
    """A token of this moment."""
    now = time.time()
    return signed(key, header, secret, **{"exp": now + 600, "iat": now, "nbf": now, **claims})


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_every_route_wants_its_role_and_nothing_else_passes(start: Callable[..., Service], server: Server, tmp_path: Path) -> None:
    keys, now = Keys(tmp_path / "var" / "keys.json"), time.time_ns() // 1000
    names = ", ".join(f"{name}: {role}" for name, role in [("desk", "decide"), *zip(ROLES, ROLES, strict=True)])
    service = start(f'service: {{oidc: {{issuer: "{WHO}", audience: {OURS}, jwks: "{server.url}", roles: {{{names}}}}}}}')
    said = service.call("GET", "/openapi.json")[1]
    described = {(method.upper(), path) for path, methods in said["paths"].items() for method in methods}
    assert described - {("GET", path) for path in OPEN} <= set(ROUTES), "a route is missing from this matrix"

    good = {f"key of {role}": (keys.new([role], now + 10**10), {role}) for role in ROLES}
    good |= {f"token of {role}": (token(roles=[role]), {role}) for role in ROLES}
    good |= {"token by a mapped name": (token(roles=["desk"]), {"decide"}), "two roles": (token("ec", roles=["observe", "operate"]),
                                                                                     {"observe", "operate"})}
    everything = list(ROLES)
    bad = {
        "nothing": "", "garbage": "garbage", "expired key": keys.new(everything, now - 1),
        "forged key": keys.new(everything, now + 10**10)[:-4] + "AAAA", "expired token": token(roles=everything, exp=time.time() - 31),
        "other issuer": token(roles=everything, iss="https://evil.example.org"), "other audience": token(roles=everything, aud="payroll"),
        "none": token(header={"alg": "none"}, roles=everything), "HS256": token(header={"alg": "HS256"}, secret=PEM, roles=everything),
        "other key": token("other", {"kid": "rsa"}, roles=everything), "not yet": token(roles=everything, nbf=time.time() + 600),
        "no subject": token(roles=everything, sub=...)}
    time.sleep(0.6)  # the file of keys is looked at twice a second
    for (method, path), role in ROUTES.items():
        for name, (secret, roles) in good.items():
            status = service.call(method, path, b"{", secret)[0]
            assert (status == 403) == (role not in roles) and status != 401, (method, path, name, status)
        for name, secret in bad.items():
            assert service.call(method, path, b"{", secret)[0] == 401, (method, path, name)
    for path in OPEN:
        assert service.call("GET", path)[0] == 200, path
    log = service.log()
    assert not any(secret and secret in log for secret, _ in good.values()) and "garbage" not in log
    assert service.call("GET", "/v1/kill-switch", None, good["token of operate"][0])[1] == {"on": False}


def test_a_scheme_or_a_header_that_is_not_ours_is_nobody(start: Callable[..., Service], tmp_path: Path) -> None:
    keys, now = Keys(tmp_path / "var" / "keys.json"), time.time_ns() // 1000
    key = keys.new(list(ROLES), now + 10**10)
    service = start()
    for header in ({}, {"Authorization": key}, {"Authorization": f"Basic {key}"}, {"X-Api-Key": key}, {"Cookie": f"key={key}"},
                   {"Authorization": "Bearer "}, {"Authorization": f"Bearer {key} {key}"}, {"authorization": f"Bearer {key[:-1]}"}):
        status, headers, body = service.raw("GET", "/metrics", None, header)
        assert status == 401 and headers["www-authenticate"] == "Bearer" and json.loads(body)["status"] == 401, header
    assert service.raw("GET", f"/metrics?key={key}")[0] == 401
    assert service.raw("GET", "/metrics", None, {"authorization": f"bearer {key}"})[0] == 200
