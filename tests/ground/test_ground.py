"""The ground: errors, canonical bytes, time, money, adapters by URL, figures."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightworthy.ground import clock, figures, money, registry
from flightworthy.ground.canonical import encode, fingerprint
from flightworthy.ground.errors import AdapterError, FlightworthyError, LedgerError, ManifestError, Problem, nearest


def test_an_error_says_what_where_found_expected_next_and_retry() -> None:
    error = LedgerError("no room", where="ledger.db", found=7, expected="8", next_step="make room", retryable=True)
    assert str(error) == "ledger.db: no room; found 7; expected 8; make room; a retry may help"
    assert str(FlightworthyError("bare")) == "bare; a retry will not help"
    assert str(FlightworthyError("zero", found=0)) == "zero; found 0; a retry will not help"
    assert error.args == ("no room",)


def test_a_manifest_error_lists_every_problem_with_its_place() -> None:
    problems = (Problem("a.b", 3, 4, "bad", found="1", hint="try 2"), Problem("", 1, 1, "worse"))
    assert str(ManifestError("x", where="p.yaml", problems=problems)) == (
        "p.yaml: 2 problems\n  p.yaml:3:4 a.b: bad\n    found: 1\n    hint: try 2\n  p.yaml:1:1 (top): worse")
    assert str(ManifestError("x", where="p.yaml", problems=problems[:1])).startswith("p.yaml: 1 problem\n")


def test_nearest_names_the_closest_or_a_short_list() -> None:
    assert nearest("amuont", ["amount", "card"]) == "did you mean 'amount'?"
    assert nearest("zzz", []) == ""
    assert nearest("zzz", [f"k{i:02}" for i in range(20)]) == "known: " + ", ".join(f"k{i:02}" for i in range(12)) + ", …"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_to_the_same_bits(x: float) -> None:
    assert struct.pack("<d", float(json.loads(encode(x)))) == struct.pack("<d", x)


def test_order_is_declared_for_records_and_sorted_for_maps() -> None:
    record = msgspec.defstruct("R", [("z", int), ("a", str)])
    assert encode(record(1, "é")) == '{"z":1,"a":"é"}'.encode()
    assert encode({"b": {"y": None, "x": 1.5}, "a": [True]}) == b'{"a":[true],"b":{"x":1.5,"y":null}}'
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 2.5})


@pytest.mark.parametrize(("text", "expected"), [
    ("7d", 604_800_000_000), ("90 minutes", 5_400_000_000), ("90min", 5_400_000_000), ("40 ms", 40_000), ("1us", 1),
    ("1.5h", 5_400_000_000), ("2 weeks", 1_209_600_000_000), ("1 day", 86_400_000_000), ("0s", 0), (" 3 s ", 3_000_000),
    ("0.1s", 100_000), ("4.1s", 4_100_000), ("2.01ms", 2_010), ("33.3s", 33_300_000),
])
def test_durations(text: str, expected: int) -> None:
    assert clock.duration(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 parsecs", "1.5us", "7D", "1e3s", "7d 2h", "1.d", "9" * 400 + "d"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration|unknown unit|not a whole number"):
        clock.duration(text)


@given(st.integers(0, 10**9), st.sampled_from(["us", "ms", "s", "m", "h", "d"]))
def test_a_duration_said_reads_back(number: int, unit: str) -> None:
    micros = clock.duration(f"{number}{unit}")
    assert clock.duration(clock.say(micros)) == micros


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_every_microsecond_of_the_calendar_is_exact(instant: int) -> None:
    assert clock.micros(clock.moment(instant)) == instant
    assert clock.micros(datetime.fromisoformat(clock.iso(instant))) == instant


def test_a_naive_instant_is_utc_and_offsets_count() -> None:
    assert clock.micros(datetime(1970, 1, 1, 0, 0, 1, 5)) == 1_000_005  # noqa: DTZ001 - naive on purpose
    assert clock.micros(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0
    assert (clock.iso(-1), clock.iso(1_500_000)) == ("1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:01.500000Z")
    hand = clock.ManualClock(7)
    assert (hand.now(), hand.tick()) == (7, 7000)
    assert abs(clock.SystemClock().now() - clock.micros(datetime.now(UTC))) < 60 * clock.SECOND


@pytest.mark.parametrize(("amount", "currency", "expected"), [
    ("2.345", "USD", "2.34"), ("2.355", "USD", "2.36"), ("-2.345", "EUR", "-2.34"), ("2.3450000001", "USD", "2.35"),
    ("0.5", "JPY", "0"), ("1.5", "JPY", "2"), ("2.5", "JPY", "2"), ("1.0005", "KWD", "1.000"), ("1.0015", "KWD", "1.002"),
    ("1", "USD", "1.00"), ("123456789012345678901234567890.125", "USD", "123456789012345678901234567890.12"),
])
def test_money_is_rounded_half_even_to_the_minor_unit(amount: str, currency: str, expected: str) -> None:
    assert str(money.settle(Decimal(amount), currency)) == expected


def test_money_is_said_with_separators() -> None:
    assert money.say(Decimal("-1234567.5"), "USD") == "−1,234,567.50 USD"
    assert money.say(Decimal("1234.5"), "JPY") == "1,234 JPY"


def test_an_unknown_scheme_names_the_near_one() -> None:
    with pytest.raises(AdapterError, match=r"no adapter for 'sqlit:' among ledgers.*did you mean 'sqlite'"):
        registry.find("ledgers", "sqlit:///x.db")
    assert registry.find("sources", "file:///x").__module__ == "flightworthy.adapters.files.factory"
    assert "pip install 'flightworthy[files]'" in str(registry.missing_extra("duckdb", "files", "x.parquet"))


def test_two_packages_that_claim_a_scheme_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[flightworthy.ledgers]\nclash = {name}:open\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AdapterError, match=r"two installed packages claim 'clash:'.*uninstall one of"):
        registry.find("ledgers", "clash://x")


def test_figures_say_how_they_were_made(tmp_path: Path) -> None:
    figures.write(tmp_path / "a" / "b.json", {"rate": 1.5, "worth": Decimal("2.50"), "ends": [-math.inf, (math.nan, 1)]}, clock.ManualClock(1_999_999))
    found: dict[str, Any] = json.loads((tmp_path / "a" / "b.json").read_text())
    assert found.pop("ends") == [None, [None, 1]]
    assert set(found) == {"rate", "worth", "command", "versions", "cores", "date"}
    assert (found["rate"], found["worth"], found["date"]) == (1.5, "2.50", "1970-01-01T00:00:01Z")
    assert set(found["versions"]) == {"python", "flightworthy", "numpy", "numba", "lightgbm", "msgspec"}
    assert "/" not in found["command"].split()[0]
