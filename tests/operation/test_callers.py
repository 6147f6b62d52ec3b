"""Callers: keys or tokens behind one header, keys that change under a running service, and how often each may call."""

from __future__ import annotations

import fcntl
import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from jwt import encode
from jwt.algorithms import OKPAlgorithm

from flightworthy.ground.errors import DataError
from flightworthy.operation.service import callers as module
from flightworthy.operation.service import keys as keys_module
from flightworthy.operation.service.callers import Caller, Callers, Rates
from flightworthy.operation.service.keys import APPROVE, LOOK, Keys
from flightworthy.operation.service.tokens import Issuer, Tokens

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def test_a_header_is_a_key_a_token_or_nobody(keys: Keys, tmp_path: Path) -> None:
    secret = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [OKPAlgorithm.to_jwk(secret.public_key(), as_dict=True)]}))
    tokens = Tokens(Issuer("https://id", "us", str(tmp_path / "jwks.json")), lambda: NOW / 1e6)
    assert tokens.refresh()
    token = encode({"iss": "https://id", "aud": "us", "sub": "ada", "exp": NOW / 1e6 + 60, "roles": ["approve"]}, secret, "EdDSA").encode()
    key = keys.new(["decide", APPROVE], NOW + DAY, now=NOW).encode()
    by_key = Caller(f"key {key[3:11].decode()}", frozenset({"decide", "approve"}))
    by_token = Caller("ada of https://id", frozenset({"approve"}))
    both, only_keys, only_tokens = (Callers(*how, clock=lambda: NOW) for how in ((keys, tokens), (keys, None), (None, tokens)))
    for scheme in (b"Bearer ", b"bearer ", b"BEARER  "):
        assert [who.who(scheme + key) for who in (both, only_keys, only_tokens)] == [by_key, by_key, None]
        assert [who.who(scheme + token) for who in (both, only_keys, only_tokens)] == [by_token, None, by_token]
    for wrong in (b"", b"Bearer", b"Bearer ", key, token, b"Basic " + key, b"Bearer" + key, b"Bearer x " + key, b"Bearer " + key + b"x",
                  b"Bearer " + key[:-1], b"Bearer fw_", b"Bearer fw__", b"Bearer \xff\xfe", b"Bearer fw_\xff_\x00", b"Bearer " + key + b"\xff",
                  b"Bearer " + token[:-2], b"Bearer FW" + key[2:], b"Bearer " + key + b" " * 20_000, b"Bearer " + b"x" * 1_000_000):
        assert both.who(wrong) is None, wrong[:40]
    assert Callers(keys, clock=lambda: NOW + DAY).who(b"Bearer " + key) is None
    assert Callers(keys, clock=lambda: NOW + DAY - 1).who(b"Bearer " + key) == by_key
    assert key.decode().split("_", 2)[2] not in repr((both.who(b"Bearer " + key), both))


def test_a_rotated_key_lives_on_for_the_overlap(keys: Keys) -> None:
    old = keys.new(["decide", "observe"], NOW + 90 * DAY, "till", now=NOW)
    later = NOW + 80 * DAY
    new = keys.rotate(old.split("_")[1], DAY, later)
    for at, alive in ((later, [True, True]), (later + DAY - 1, [True, True]), (later + DAY, [False, True]),
                      (later + 90 * DAY - 1, [False, True]), (later + 90 * DAY, [False, False])):
        assert [keys.who(text, at) is not None for text in (old, new)] == alive
    made = keys.who(new, later)
    assert made is not None and (made.roles, made.note, made.lasts) == (("decide", "observe"), "till", 90 * DAY)
    assert old != new and new.split("_", 2)[2] not in keys.path.read_text()
    keys.rotate(old.split("_")[1], 5 * DAY, later + 1)
    assert keys.who(old, later + DAY) is None  # an overlap lengthens nothing
    again = keys.rotate(old.split("_")[1], 0, later + 2)
    assert keys.who(old, later + 2) is None and keys.who(again, later + 2 + 90 * DAY - 1) is not None
    for name, overlap, at, said in (("nobody", 0, later, "no such key"), (made.id, -1, later, "no overlap"),
                                    (old.split("_")[1], 0, later + DAY, "has ended")):
        before = keys.path.read_bytes()
        with pytest.raises(DataError, match=said):
            keys.rotate(name, overlap, at)
        assert keys.path.read_bytes() == before


def test_a_key_of_an_old_file_ends_when_it_would_have(keys: Keys) -> None:
    old = keys.new(["operate"], NOW + DAY, now=NOW)
    rows = json.loads(keys.path.read_text())
    del rows[0]["lasts"]
    keys.path.write_text(json.dumps(rows))
    new = keys.rotate(old.split("_")[1], 0, NOW + 5)
    assert keys.who(new, NOW + DAY - 1) is not None and keys.who(new, NOW + DAY) is None


def test_a_service_looks_at_the_file_twice_a_second(keys: Keys) -> None:
    at = [100.0]
    service = Keys(keys.path, LOOK, lambda: at[0])
    assert service.all() == {}
    first = keys.new(["decide"], NOW + DAY, now=NOW)
    at[0] += 0.499
    assert service.who(first, NOW) is None
    at[0] = 100.5
    assert service.who(first, NOW) is not None
    keys.revoke(first.split("_")[1])
    assert keys.who(first, NOW) is None
    at[0] = 100.99
    assert service.who(first, NOW) is not None
    at[0] = 101.0
    assert service.who(first, NOW) is None
    own = service.new(["decide"], NOW + DAY, now=NOW)
    assert service.who(own, NOW) is not None  # what it writes itself counts at once
    keys.path.unlink()
    at[0] = 101.5
    assert service.who(own, NOW) is None
    keys.path.write_text("{")
    at[0] = 102.0
    for _ in range(2):  # nobody is let in by what was there before
        with pytest.raises(DataError, match="cannot be read"):
            service.who(own, NOW)


def test_another_file_of_the_same_size_and_time_is_another(keys: Keys) -> None:
    text = keys.new(["decide"], NOW + DAY, now=NOW)
    assert keys.who(text, NOW) is not None
    before, other = keys.path.stat(), keys.path.with_suffix(".other")
    other.write_text(keys.path.read_text().replace("decide", "nobody"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(keys.path)
    found = keys.who(text, NOW)
    assert found is not None and found.roles == ("nobody",)


def test_two_commands_at_once_lose_no_key(keys: Keys) -> None:
    code = ("import sys; from pathlib import Path; from flightworthy.operation.service.keys import Keys\n"
            "for n in range(40): print(Keys(Path(sys.argv[1])).new(['decide'], 2**60, str(n)), flush=True)")
    running = [subprocess.Popen([sys.executable, "-c", code, str(keys.path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = [line for process in running for line in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in running] == [0, 0] and len(made) == 80
    assert all(keys.who(text, NOW) is not None for text in made) and len(keys.all()) == 80
    assert {path.name: path.stat().st_mode & 0o777 for path in keys.path.parent.iterdir()} == {"keys.json": 0o600, "keys.lock": 0o600}


def test_a_command_that_never_ends_keeps_nobody_waiting(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.new(["decide"], NOW, now=NOW)
    monkeypatch.setattr(keys_module, "_PATIENCE", 0.1)
    with keys.path.with_suffix(".lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another command") as caught:
            keys.new(["decide"], NOW, now=NOW)
    assert caught.value.retryable
    keys.new(["decide"], NOW, now=NOW)
    assert len(keys.all()) == 2


@given(rate=st.integers(1, 5000), burst=st.integers(1, 5000), per=st.integers(1, 90), start=st.integers(0, 10**15),
       steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6000), st.integers(0, 3_000_000) | st.just(0)), max_size=30))
def test_rates_are_those_of_exact_fractions(rate: int, burst: int, per: int, start: int, steps: list[tuple[str, int, int]]) -> None:
    rates, now = Rates(rate, burst, per), start
    held = {name: (Fraction(burst), start) for name in "ab"}
    for name, n, pause in steps:
        now += pause
        level, since = held[name]
        level = min(Fraction(burst), level + Fraction(now - since, 1_000_000) * Fraction(rate, per))
        wait = rates.allow(name, n, now / 1e6)
        if n > burst:
            assert wait == math.inf
        elif n <= level:
            assert wait == 0.0
            level -= n
        else:
            short = math.ceil((n - level) * Fraction(per, rate) * 1_000_000)
            assert wait == short / 1e6
            assert rates.allow(name, n, (now + short - 1) / 1e6) > 0.0  # a microsecond early is early
            assert rates.allow(name, n, now / 1e6 + wait) == 0.0  # and who waited as told is let in
            now += short
            level = min(Fraction(burst), level + Fraction(short, 1_000_000) * Fraction(rate, per)) - n
        held[name] = level, now


def test_rates_bound_names_and_refuse_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUCKETS", 3)
    rates = Rates(1, 1)
    for name in "abc":
        assert rates.allow(name, 1, 5.0) == 0.0
    assert rates.allow("a", 1, 5.0) == 1.0 and rates.allow("d", 1, 5.0) == 0.0
    assert len(rates) == 3
    assert rates.allow("a", 1, 5.0) == 1.0 and rates.allow("b", 1, 5.0) == 0.0  # b was forgotten, a was not
    assert rates.allow("a", 1, 1.0) == 1.0 and rates.allow("a", 0, 1.0) == 0.0  # a clock that goes back stands still
    assert rates.allow("a", 1, 6.0) == 0.0
    with pytest.raises(ValueError, match="-1 records"):
        rates.allow("a", -1, 6.0)
    for wrong in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1.5, 1, 1), (math.nan, 1, 1)):
        with pytest.raises(DataError, match="no limit"):
            Rates(*wrong)
