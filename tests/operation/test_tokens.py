"""Tokens: real keys, a real key server on loopback, and everything that must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.operation.service import jwks
from flightworthy.operation.service import tokens as module
from flightworthy.operation.service.callers import Caller
from flightworthy.operation.service.keys import ROLES
from flightworthy.operation.service.tokens import Issuer, Tokens

NOW, WHO, OURS = 1_800_000_000.0, "https://id.example.org", "flightworthy"
ALGORITHMS = get_default_algorithms()
KEYS: dict[str, Any] = {"rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP256R1()),
                        "ed": ed25519.Ed25519PrivateKey.generate(), "other": rsa.generate_private_key(65537, 2048)}
FITS = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA", "other": "RS256"}
PEM = KEYS["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
CLAIMS = {"iss": WHO, "aud": OURS, "sub": "till-7", "exp": NOW + 600, "iat": NOW, "nbf": NOW, "roles": ["decide", "janitor"]}
TILL = Caller(f"till-7 of {WHO}", frozenset({"decide"}))


def published(name: str, key: Any = None, **more: Any) -> dict[str, Any]:
    row = ALGORITHMS[FITS.get(name, "RS256")].to_jwk((key or KEYS[name]).public_key(), as_dict=True)
    return {**row, "kid": name, **more}


def signed(key: str = "rsa", header: dict[str, Any] | None = None, secret: bytes = b"", **claims: Any) -> str:
    """A token by hand, since no library makes the wrong ones. A claim or a header of ``...`` is left out."""
    head = {"alg": FITS[key], "typ": "JWT", "kid": key, **(header or {})}
    parts = [{k: v for k, v in part.items() if v is not ...} for part in (head, {**CLAIMS, **claims})]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    name = FITS[key] if head["alg"] is ... else head["alg"]
    if name.lower() == "none":
        made = b""
    else:
        made = hmac.digest(secret, text, hashlib.sha256) if secret else ALGORITHMS[name].sign(text, KEYS[key])
    return (text + b"." + base64.urlsafe_b64encode(made).rstrip(b"=")).decode()


class Server:
    """An issuer that publishes whatever it is told to."""

    def __init__(self) -> None:
        self.body, self.status, self.location, self.drip, self.asked = b"", 200, "", 0.0, 0
        self.publish(*(published(name) for name in ("rsa", "ec", "ed")))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                moved = outer.location if self.path == "/keys" else ""
                self.send_response(302 if moved else outer.status)
                self.send_header("Location", moved) if moved else None
                self.end_headers()
                for at in range(0, len(outer.body), 50 if outer.drip else len(outer.body)):
                    try:
                        self.wfile.write(outer.body[at:at + 50] if outer.drip else outer.body)
                    except OSError:  # who asked has heard enough
                        return
                    time.sleep(outer.drip)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, *rows: Any) -> None:
        self.body = json.dumps({"keys": rows}).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def tokens(server: Server) -> Tokens:
    made = Tokens(Issuer(WHO, OURS, server.url), lambda: NOW)
    assert made.refresh()
    return made


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("key", ["rsa", "ec", "ed"])
@pytest.mark.parametrize("more", [{}, {"aud": ["x", OURS]}, {"nbf": ..., "iat": ...}, {"exp": NOW - 29.5}, {"nbf": NOW + 30, "iat": NOW + 30}])
def test_what_the_issuer_signed_is_accepted(tokens: Tokens, key: str, more: dict[str, Any]) -> None:
    assert tokens.who(signed(key, **more)) == TILL
    assert tokens.who(signed(key, {"typ": ..., "jku": "http://127.0.0.1:1/", "jwk": published("other")}, **more)) == TILL
    assert not tokens.wanted


ATTACKS = {
    "none": lambda: signed(header={"alg": "none"}), "None": lambda: signed(header={"alg": "None"}),
    "HS256 with the public key": lambda: signed(header={"alg": "HS256"}, secret=PEM),
    "HS256 with the public key's line": lambda: signed(header={"alg": "HS256"}, secret=PEM.strip()),
    "other issuer": lambda: signed(iss="https://evil.example.org"), "part of the issuer": lambda: signed(iss=WHO[:-1]),
    "issuer a list": lambda: signed(iss=[WHO]), "issuer missing": lambda: signed(iss=...),
    "other audience": lambda: signed(aud="payroll"), "audience a part": lambda: signed(aud=OURS[:-1]),
    "audience missing": lambda: signed(aud=...), "audience null": lambda: signed(aud=None), "audience empty": lambda: signed(aud=[]),
    "expired": lambda: signed(exp=NOW - 30), "exp missing": lambda: signed(exp=...), "exp text": lambda: signed(exp=str(NOW + 600)),
    "exp infinite": lambda: signed(exp=float("inf")), "exp nan": lambda: signed(exp=float("nan")), "exp true": lambda: signed(exp=True),
    "exp huge": lambda: signed(exp=10**400), "exp null": lambda: signed(exp=None), "nbf nan": lambda: signed(nbf=float("nan")),
    "nbf in the future": lambda: signed(nbf=NOW + 31), "iat in the future": lambda: signed(iat=NOW + 31), "nbf text": lambda: signed(nbf="0"), "nbf true": lambda: signed(nbf=True),
    "sub missing": lambda: signed(sub=...), "sub empty": lambda: signed(sub=""), "sub a number": lambda: signed(sub=7),
    "sub with a line": lambda: signed(sub="a\nkey 1"), "sub long": lambda: signed(sub="x" * 256),
    "unknown kid": lambda: signed(header={"kid": "nobody"}), "no kid": lambda: signed(header={"kid": ...}),
    "kid a list": lambda: signed(header={"kid": ["rsa"]}), "right kid, wrong key": lambda: signed("other", {"kid": "rsa"}),
    "key of another kind": lambda: signed("ed", {"kid": "rsa"}), "RS512": lambda: signed(header={"alg": "RS512"}),
    "PS256": lambda: signed(header={"alg": "PS256"}), "alg missing": lambda: signed(header={"alg": ...}),
    "embedded key": lambda: signed("other", {"kid": "rsa", "jwk": published("other")}),
    "embedded key of its own id": lambda: signed("other", {"jwk": published("other")}),
    "crit": lambda: signed(header={"crit": ["exp"], "exp": 1}), "crit b64": lambda: signed(header={"crit": ["b64"], "b64": True}),
    "crit empty": lambda: signed(header={"crit": []}), "b64": lambda: signed(header={"b64": False}),
    "another kind of token": lambda: signed(header={"typ": "logout+jwt"}), "garbage": lambda: "garbage", "empty": lambda: "",
    "dots": lambda: "..", "no letters": lambda: signed() + "é", "a line after it": lambda: signed() + "\n", "surrogate": lambda: "\ud800",
    "four parts": lambda: signed() + ".x", "huge": lambda: signed(x="y" * 1_000_000), "deep": lambda: "W1tb" * 4000 + ".e30.x",
    "roles text": lambda: signed(roles="decide"), "roles a number": lambda: signed(roles=7), "roles nested": lambda: signed(roles=[["decide"]]),
    "roles null": lambda: signed(roles=None), "roles an object": lambda: signed(roles={"decide": True}), "roles mixed": lambda: signed(roles=["decide", 1]),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_must_not_pass_does_not(tokens: Tokens, name: str) -> None:
    forged = ATTACKS[name]()
    assert tokens.who(forged) is None and tokens.who(forged) is None
    assert tokens.who(signed()) == TILL
    assert tokens.who(forged) is None
    assert tokens.wanted == (name in ("unknown kid", "no kid", "embedded key of its own id"))


def test_a_token_cut_or_changed_anywhere_is_nobodys(tokens: Tokens) -> None:
    text = signed("ed")
    assert tokens.who(text) == TILL
    assert not [at for at in range(len(text)) if tokens.who(text[:at])]
    for at in range(len(text) - 1):  # the last letter has bits that mean nothing
        assert tokens.who(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1:]) is None, at


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["decide", OURS, WHO]),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5)


@pytest.fixture(scope="module")
def ready() -> Iterator[Tokens]:
    server = Server()
    made = Tokens(Issuer(WHO, OURS, server.url), lambda: NOW)
    made.refresh()
    yield made
    server.close()


@settings(max_examples=200)
@given(claims=st.dictionaries(st.sampled_from(list(CLAIMS)), JSON, max_size=3), header=st.dictionaries(st.sampled_from(["kid", "typ", "crit", "b64", "x5u"]), JSON, max_size=1))
def test_odd_claims_never_raise_and_grant_no_more_than_roles(ready: Tokens, claims: dict[str, Any], header: dict[str, Any]) -> None:
    found = ready.who(signed("ed", header, **claims))
    assert found is None or (found.name.endswith(f" of {WHO}") and found.roles <= set(ROLES) and "crit" not in header)
    assert found is not None or claims or header


def test_a_new_key_is_picked_up_and_a_removed_one_ends_at_once(server: Server) -> None:
    tokens = Tokens(Issuer(WHO, OURS, server.url), lambda: NOW, rest=0.05)
    tokens.start()
    until(lambda: tokens.who(signed()) == TILL)
    server.publish(published("other"))
    assert tokens.who(signed()) == TILL  # nobody has asked yet
    until(lambda: tokens.who(signed("other")) == TILL)
    assert tokens.who(signed()) is None  # also out of the cache
    tokens.close()
    assert tokens._thread is not None and not tokens._thread.is_alive()


def test_unknown_ids_make_nobody_ask_more_than_now_and_then(server: Server) -> None:
    tokens = Tokens(Issuer(WHO, OURS, server.url), lambda: NOW)
    tokens.start()
    until(lambda: tokens.fetched == NOW)
    assert not any(tokens.who(signed(header={"kid": f"k{n}"})) for n in range(100))
    time.sleep(0.2)
    assert (server.asked, tokens.wanted) == (1, True)
    tokens.close()


@pytest.mark.parametrize("how", ["down", "404", "500", "text", "no set", "too large", "elsewhere", "file", "slow", "deep"])
def test_without_the_issuer_the_keys_stay_and_the_log_says_so(server: Server, tokens: Tokens, how: str, caplog: pytest.LogCaptureFixture,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    good, server.body = server.body, b'{"keys": [], "secret": "hunter2"}'
    port = server.server.server_port
    match how:
        case "down":
            server.close()
        case "404" | "500":
            server.status = int(how)
        case "text" | "no set" | "deep":
            server.body = {"text": b"hunter2", "no set": b'["hunter2"]', "deep": b"[" * 100_000}[how]
        case "too large":
            server.body += b" " * (1 << 20)
        case "elsewhere" | "file":
            server.location = f"http://localhost:{port}/other" if how == "elsewhere" else "file:///etc/passwd"
        case "slow":
            monkeypatch.setattr(jwks, "_TIMEOUT", 0.3)
            server.body, server.drip = good, 0.2
    assert not tokens.refresh()
    assert tokens.who(signed()) == TILL
    assert "3 known stay" in caplog.text and "hunter2" not in caplog.text
    server.body, server.status, server.location, server.drip = good, 200, f"http://127.0.0.1:{port}/moved", 0.0
    assert how == "down" or tokens.refresh()  # within the same host it may move


def test_keys_that_are_no_good_are_left_out(server: Server, tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    oct_ = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "rsa"}
    private = ALGORITHMS["RS256"].to_jwk(KEYS["rsa"], as_dict=True)
    weak = published("weak", rsa.generate_private_key(65537, 1024))  # noqa: S505 - it is to be refused
    others: list[Any] = [{**private, "kid": "rsa", "key_ops": ["verify"]}, {**weak, "kid": "rsa"}, published("rsa", use="enc"), published("rsa", alg="RS512"),
                         published("rsa", key_ops=["sign"]), published("rsa", kid=7), {"kty": "RSA", "kid": "rsa"}, {**oct_, "alg": "RS256"},
                         {**published("ec"), "kid": "rsa", "crv": "secp256k1"}, "text", None, 7, [], published("rsa", n="!", key_ops=3)]
    for row in [oct_, *others]:
        server.publish(row, published("ed"))
        assert tokens.refresh() and not tokens.wanted and tokens.who(signed("ed")) == TILL
        assert tokens.who(signed()) is None and tokens.wanted, row
        assert tokens.who(signed(header={"alg": "HS256"}, secret=b"s" * 32)) is None
        assert "1 of the 2 published" in caplog.text
        caplog.clear()
    server.publish(oct_, published("rsa"), published("other", kid="rsa"))
    assert tokens.refresh() and tokens.who(signed()) == TILL  # of two with one id the first good one counts
    assert tokens.who(signed("other", {"kid": "rsa"})) is None


def test_a_seen_token_is_known_until_it_ends_and_few_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED", 3)
    at = [NOW]
    tokens = Tokens(Issuer(WHO, OURS, server.url, leeway=0), lambda: at[0])
    tokens.refresh()
    texts = [signed("ed", sub=f"s{n}") for n in range(5)]
    first = [tokens.who(text) for text in texts]
    again = [tokens.who(text) for text in reversed(texts)]
    assert [a is b for a, b in zip(reversed(first), again, strict=True)] == [True, True, True, False, False]
    assert first == again[::-1] and len(tokens._ring.cache) == 3
    at[0] = NOW + 600
    assert not any(tokens.who(text) for text in texts)


def test_the_clock_given_is_the_only_one(server: Server) -> None:
    for at in (1e9, 9e9):
        tokens = Tokens(Issuer(WHO, OURS, server.url), lambda at=at: at)  # type: ignore[misc]
        assert tokens.refresh() and tokens.who(signed(exp=at + 1, iat=at, nbf=at)) == TILL
        assert tokens.who(signed(exp=at - 30, iat=at, nbf=at)) is None


def test_roles_by_path_and_by_name(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [published("ed", kid="x")]}))
    for claim, roles, more, wanted in (
        ("realm_access.roles", {}, {"realm_access": {"roles": ["observe", "decide"]}}, {"observe", "decide"}),
        ("https://a.b/roles", {}, {"https://a.b/roles": ["approve"]}, {"approve"}),
        ("groups", {"risk-desk": "approve", "ops": "operate"}, {"groups": ["risk-desk", "decide", "x"]}, {"approve"}),
        ("groups", {}, {}, set()), ("a.b", {}, {"a": {}}, set()), ("a.b", {}, {"a": "b"}, None), ("a.b", {}, {"a": {"b": "decide"}}, None)):
        tokens = Tokens(Issuer(WHO, OURS, str(file), roles_claim=claim, roles=roles), lambda: NOW)
        assert tokens.refresh()
        found = tokens.who(signed("ed", {"kid": "x"}, **more))
        assert (None if found is None else found.roles) == wanted, claim


@pytest.mark.parametrize(("more", "said"), [
    ({"algorithms": ("HS256",)}, "public key"), ({"algorithms": ("RS256", "none")}, "public key"), ({"algorithms": ()}, "public key"),
    ({"jwks": "http://id.example.org/k"}, "address"), ({"jwks": "ftp://127.0.0.1/k"}, "address"), ({"jwks": "file:///k"}, "address"),
    ({"jwks": "https://me:hunter2@id.example.org"}, "address"), ({"jwks": "https://["}, "address"), ({"jwks": ""}, "empty"),
    ({"roles": {"x": "admin"}}, "role"), ({"leeway": -1}, "leeway"), ({"leeway": float("nan")}, "leeway"), ({"audience": ""}, "empty")])
def test_an_issuer_that_cannot_be_trusted_is_refused(more: dict[str, Any], said: str) -> None:
    good: dict[str, Any] = {"issuer": WHO, "audience": OURS, "jwks": "https://id.example.org/keys"}
    assert Issuer(**good).leeway == 30 and Issuer(**{**good, "jwks": "http://localhost:1/k"})
    with pytest.raises(DataError, match=said) as caught:
        Issuer(**{**good, **more})
    assert "hunter2" not in str(caught.value)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(AdapterError, match="not installed") as caught:
        Tokens(Issuer(WHO, OURS, "/keys"))
    assert "flightworthy[service]" in str(caught.value)


def test_no_token_is_logged(tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for forged in ("none", "unknown kid", "right kid, wrong key"):
        assert tokens.who(ATTACKS[forged]()) is None
    assert tokens.who(signed()) == TILL and caplog.text == ""
