"""The listener and what callers can do wrong to it: a real socket against a real service."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable

import pytest

from tests.conftest import Trained
from tests.operation.running import Service

pytestmark = pytest.mark.timeout(120)
HEAD = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\n"


def talk(service: Service, sent: bytes, wait: float = 5.0) -> bytes:
    """Everything that comes back before the other side closes or ``wait`` seconds pass in silence."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=wait) as link:
        link.sendall(sent)
        got = b""
        try:
            while part := link.recv(65536):
                got += part
        except TimeoutError:
            pass
        return got


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    return start()


@pytest.mark.parametrize(("sent", "status"), [
    (b"NONSENSE\r\n\r\n", 400), (b"GET / HTTP/9.9\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00", 400),
    (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nx", 400), (HEAD + b"content-length: -1\r\n\r\n", 400),
    (HEAD + b"content-length: 99999999999\r\n\r\n", 413), (HEAD + b"x: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", 431), (HEAD + b"authorization: a\r\nauthorization: b\r\n\r\n", 400),
    (HEAD + b"transfer-encoding: chunked\r\n\r\nZZ\r\n", 400), (HEAD + b"no colon here\r\n\r\n", 400)])
def test_what_is_no_http_is_refused_and_the_connection_closed(service: Service, sent: bytes, status: int) -> None:
    got = talk(service, sent)
    assert got.startswith(b"HTTP/1.1 %d " % status) and b"connection: close" in got
    assert service.call("GET", "/health/live")[0] == 200


def test_a_body_may_come_in_chunks_and_in_pieces(service: Service, starter_trained: Trained) -> None:
    line = starter_trained.lines("live", 1)[0]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (line[:7], line[7:])) + b"0\r\n\r\n"
    got = talk(service, HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunked)
    assert json.loads(got.partition(b"\r\n\r\n")[2])["decision"] == 1
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as link:
        for byte in HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(line) + line:
            link.sendall(bytes([byte]))
        assert b'"decision":1' in link.recv(65536)


def test_a_pipeline_is_answered_in_order(service: Service, starter_trained: Trained) -> None:
    lines = starter_trained.lines("live", 20)
    ask = b"".join(HEAD + b"content-length: %d\r\n\r\n" % len(line) + line for line in lines)
    got = talk(service, ask + b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    bodies = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in got.split(b"HTTP/1.1 ")[1:]]
    assert [body["id"] for body in bodies if "id" in body] == [json.loads(line)["invoice"] for line, body in zip(lines, bodies, strict=False)
                                                               if "id" in body]
    assert len(bodies) == 21 and bodies[-1] == {"live": True}


@pytest.mark.parametrize("after", [b"\x00garbage\r\n\r\n", b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\n",
                                   b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n"])
def test_what_is_broken_is_refused_after_the_answers_to_what_came_before(service: Service, starter_trained: Trained, after: bytes) -> None:
    lines = starter_trained.lines("live", 3)
    ask = b"".join(HEAD + b"content-length: %d\r\n\r\n" % len(line) + line for line in lines)
    got = talk(service, ask + after).split(b"HTTP/1.1 ")[1:]
    assert len(got) == 4 and {part[:3] for part in got[:3]} <= {b"200", b"422"} and got[3][:3] in (b"400", b"413")
    assert [part for part in got if b"connection: close" in part] == got[3:]
    assert "Traceback" not in service.log()


@pytest.mark.slow
def test_slow_callers_are_told_and_let_go(service: Service) -> None:
    started = time.monotonic()
    assert talk(service, b"POST /v1/decisions HT", 30).startswith(b"HTTP/1.1 408 ")
    assert 9 < time.monotonic() - started < 14


def test_head_expect_and_methods(service: Service) -> None:
    got = talk(service, b"HEAD /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\n")
    got = talk(service, HEAD + b"connection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n[]")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    status, headers, _ = service.raw("DELETE", "/v1/kill-switch")
    assert (status, headers["allow"]) == (405, "GET, PUT")


@pytest.mark.slow
def test_a_hundred_thousand_mutated_requests_leave_it_well(service: Service, starter_trained: Trained) -> None:
    rng, lines = random.Random(3), starter_trained.lines("live", 50)
    paths = [b"/v1/decisions", b"/v1/outcomes", b"/v2/models/starter/infer", b"/v1/kill-switch", b"/metrics", b"/openapi.json"]
    statuses: dict[bytes, int] = {}
    for _ in range(400):
        whole = []
        for _ in range(250):
            body = bytearray(rng.choice(lines))
            for _ in range(rng.randrange(4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            whole.append(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (rng.choice(paths), len(body), body))
        for start in range(0, 250, 25):  # a connection each: a pipeline has its bounds
            got = talk(service, b"".join(whole[start : start + 25]) + b"GET /health/live HTTP/1.1\r\nconnection: close\r\nhost: x\r\n\r\n")
            for part in got.split(b"HTTP/1.1 ")[1:]:
                statuses[part[:3]] = statuses.get(part[:3], 0) + 1
    assert sum(statuses.values()) >= 100_000
    assert set(statuses) <= {b"200", b"400", b"404", b"405", b"409", b"413", b"422"}, statuses
    assert service.process.poll() is None and service.call("GET", "/health/ready")[0] == 200
