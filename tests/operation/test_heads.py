"""Heads that are looked up instead of parsed: only those whose bytes alone say how their request ends."""

from __future__ import annotations

from typing import Any

import pytest

from flightworthy.operation.service.heads import Head, Heads
from flightworthy.operation.service.http import Listener
from flightworthy.operation.service.messages import Limits, Request

HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 3"


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.said = b""

    def write(self, data: bytes) -> None:
        self.said += data

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: False


def speak(*pieces: bytes) -> tuple[list[Request], Listener]:
    """What arrives when one connection sends these pieces, each answered at once."""
    came: list[Request] = []

    def handle(request: Request) -> None:
        came.append(request)
        request.connection.respond(200, b"{}")

    listener = Listener(handle, Limits())
    connection = listener()
    connection.connection_made(Wire())
    for piece in pieces:
        connection.data_received(piece)
    return came, listener


def test_what_is_looked_up_is_what_was_parsed() -> None:
    piece = HEAD + b"\r\n\r\n"
    came, listener = speak(piece + b"one", piece + b"two", piece + b"six", piece + b"ten")
    assert [request.body for request in came] == [b"one", b"two", b"six", b"ten"]
    assert listener.heads.find(HEAD) is not None
    assert {(r.method, r.path, tuple(r.headers.items())) for r in came} == {
        ("POST", "/v1/decisions", ((b"host", b"x"), (b"content-length", b"3")))}


def test_a_known_head_with_another_body_is_parsed() -> None:
    piece = HEAD + b"\r\n\r\n"
    known = [piece + b"one"] * 3
    came, _ = speak(*known, piece + b"on", b"e", piece + b"one" + piece + b"two", piece + b"one")
    assert [request.body for request in came[3:]] == [b"one", b"one", b"two", b"one"]


def test_a_head_without_its_end_is_no_head_yet() -> None:
    """Else what follows would be a request of its own, with whatever a proxy wrote behind it."""
    head = b"POST /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX: aaaa"
    whole = head + b"\r\n\r\n"
    came, listener = speak(whole, whole, whole)
    assert listener.heads.find(head) is not None and len(came) == 3
    came, _ = speak(whole, whole, head, b"PUT /v1/kill-switch HTTP/1.1\r\nAuthorization: b\r\n\r\n", whole)
    assert [(r.path, r.headers.get(b"x")) for r in came] == [("/health/live", b"aaaa")] * 2 + [
        ("/health/live", b"aaaaPUT /v1/kill-switch HTTP/1.1"), ("/health/live", b"aaaa")]


def test_nothing_of_a_request_is_kept() -> None:
    came, listener = speak(HEAD + b"\r\n\r\none", HEAD + b"\r\n\r\n", b"two")
    assert len(came) == 2 and all(connection._came is None for connection in listener.connections)


@pytest.mark.parametrize("piece", [
    HEAD + b"\r\nConnection: close\r\n\r\none", HEAD.replace(b"/1.1", b"/1.0") + b"\r\n\r\none",
    HEAD + b"\r\nExpect: 100-continue\r\n\r\none", b"\r\n" + HEAD + b"\r\n\r\none", HEAD + b"\r\nX: " + b"x" * 3000 + b"\r\n\r\none",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HEAD.replace(b"h: 3", b"h: 03") + b"\r\n\r\none"])
def test_other_heads_are_parsed_every_time(piece: bytes) -> None:
    _, listener = speak(piece, piece, piece)
    assert listener.heads.find(piece.lstrip().partition(b"\r\n\r\n")[0]) is None
    assert listener.heads.find(piece.partition(b"\r\n\r\n")[0]) is None


def test_heads_are_bounded() -> None:
    heads = Heads()
    for i in range(2000):
        heads.note(b"POST /%d" % i, Head("POST", f"/{i}", {b"content-length": b"3"}, 3))
    kept = [i for i in range(2000) if heads.find(b"POST /%d" % i) is not None]
    assert 1999 in kept and len(kept) <= 256
