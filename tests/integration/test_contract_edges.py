"""Records made to slip through, or to stop a stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightworthy.ground.clock import micros
from flightworthy.integration.batch import Columns
from flightworthy.integration.contract import Contract, Rejection, RejectionError
from flightworthy.integration.outcomes import Outcome, OutcomeContract
from flightworthy.manifest.load import parse
from tests.conftest import PILOTS

STARTER, FRAUD = ((PILOTS / name / "pilot.yaml").read_text() for name in ("starter", "fraud"))
GOOD = {"invoice": "i1", "issued": "2024-01-01T00:00:00Z", "customer_id": "c", "amount": 57.16, "terms": "net14"}


def contract(*changes: tuple[str, str], source: str = STARTER) -> Contract:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new, 1)
    return Contract(parse(source))


def lax(**more: Any) -> Contract:
    extra = "".join(f"\n  {name}: {value}" for name, value in more.items())
    return contract(("lateness: 1d", f"lateness: 1d\n  unknown_fields: ignore{extra}"))


def raw(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes, ensure_ascii=False).encode()


def put(literal: bytes, name: str = "extra") -> bytes:
    """The good record with one member written byte by byte."""
    return raw(**{name: "@"}).replace(b'"@"', literal)


def refusal(reader: Contract, record: Any) -> tuple[str, str]:
    with pytest.raises(RejectionError) as caught:
        reader.read(record)
    return caught.value.rejection.reason, caught.value.rejection.field


def test_a_repeated_name_does_not_hide_behind_an_absent_optional_one() -> None:
    """Six names for six fields, but one of them twice: the second amount must not win."""
    record = (b'{"transaction_id":"T","tx_time":"2024-01-01T00:00:00Z","card_id":"C","terminal_id":"M",'
              b'"amount":1,"amount":9999}')
    assert refusal(contract(source=FRAUD), record) == ("duplicate_key", "amount")


@pytest.mark.parametrize(("literal", "reason"), [
    (b'"\xff"', "encoding"), (b"[" * 3000 + b"]" * 3000, "malformed"), (b"NaN", "malformed"),
    (b"-Infinity", "malformed"), (b"01", "malformed"), (b"tru", "malformed"), (b'{"a":1,"a":2}', "duplicate_key"),
])
def test_what_stands_in_an_ignored_field_never_stops_the_stream(literal: bytes, reason: str) -> None:
    assert refusal(lax(), put(literal))[0] == reason


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode), st.integers(0, len(raw())), st.integers(0, 12), st.booleans())
def test_any_damage_is_an_event_or_a_rejection(damage: bytes, at: int, gone: int, ignoring: bool) -> None:
    record = raw()[:at] + damage + raw()[at + gone:]
    try:
        (LAX if ignoring else STRICT).read(record)
    except RejectionError as error:
        assert error.rejection.reason in {"encoding", "malformed", "too_large", "duplicate_key", "unknown_field", "missing_field",
                                          "null", "type", "category", "format", "length", "range"}


STRICT, LAX = contract(), lax()


@pytest.mark.parametrize(("change", "expected"), [
    ({"terms": "unknown field"}, ("category", "terms")), ({"terms": "got `null`"}, ("category", "terms")),
    ({"terms": " >= "}, ("category", "terms")), ({"issued": 5}, ("type", "issued")), ({"issued": None}, ("null", "issued")),
    ({"issued": "2024-01-01T00:00:00"}, ("format", "issued")), ({"amount": 1_000_000.01}, ("range", "amount")),
    ({"amount": "1e3"}, ("type", "amount")), ({"amount": " 1"}, ("type", "amount")), ({"amount": "-1.00"}, ("range", "amount")),
    ({"amount": "1.5", "terms": "net15"}, ("category", "terms")), ({"amount": "1.5", "x": 1}, ("unknown_field", "x")),
])
def test_the_reason_is_of_the_field_not_of_its_words(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert refusal(STRICT, raw(**change)) == expected


def test_the_size_is_that_of_the_record_as_it_came() -> None:
    """Also when money was written as text and the record is read a second time."""
    reader = lax(max_bytes=8000)
    assert refusal(reader, raw(amount="57.16") + b" " * 9000)[0] == "too_large"
    assert reader.read(raw(amount="57.16", extra="é" * 3000)).amount == 57.16
    assert reader.read(raw() + b" " * (8000 - len(raw()))).amount == 57.16
    assert refusal(reader, raw() + b" " * (8001 - len(raw())))[0] == "too_large"


@pytest.mark.parametrize(("literal", "reason"), [
    (b'"\\ud800"', "malformed"), (b"NaN", "malformed"), (b"1e400", "malformed"),
    (b"\"\xff\"", "encoding"), (b"[" * 3000 + b"]" * 3000, "malformed"), (b"{} {}", "malformed")])
def test_what_typed_reading_did_not_reach_is_judged_as_strictly(literal: bytes, reason: str) -> None:
    """The first thing wrong is an amount as text, for which the record is read again; what comes after it may be worse."""
    record = put(literal).replace(b"57.16", b'"57.16"')
    assert b'"57.16"' in record and record.index(b'"57.16"') < record.index(literal)
    assert refusal(lax(), record)[0] == reason


def test_numbers_beyond_64_bits_stay_numbers_where_money_is_text() -> None:
    record = put(b"1" + b"0" * 30).replace(b"57.16", b'"57.16"')
    assert lax().read(record).amount == 57.16


def test_a_pattern_matches_the_text_as_a_whole() -> None:
    reader = contract(("invoice: {type: text}", "invoice: {type: text, pattern: '[a-z]+|[0-9]+'}"))
    assert reader.read(raw(invoice="abc")).invoice == "abc"
    for wrong in ("abC", "abc1", "abc\n", "\nabc"):
        assert refusal(reader, raw(invoice=wrong)) == ("format", "invoice")


def test_bounds_of_whole_numbers_are_not_cut_towards_zero() -> None:
    reader = contract(("invoice: {type: text}", "invoice: {type: integer, min: 0.5, max: 9.5}"))
    assert [reader.read(raw(invoice=n)).invoice for n in (1, 9)] == [1, 9]
    assert [refusal(reader, raw(invoice=n)) for n in (0, 10)] == [("range", "invoice")] * 2


def test_a_time_in_numbers_that_no_clock_can_hold_is_refused() -> None:
    """The largest integer the contract lets through, in seconds, is beyond 64 bits of microseconds."""
    pilot = parse(STARTER.replace("issued: {type: time}", "issued: {type: time, unit: 1s}"))
    reader = Contract(pilot)
    columns = Columns(pilot, reader)
    assert columns.times([reader.read(raw(issued=-7))]).tolist() == [-7_000_000]
    try:
        event = reader.read(raw(issued=2**53))
    except RejectionError as error:
        assert error.rejection.reason in ("range", "time_bounds")
        return
    times = columns.times([event])
    assert columns.suspicious(columns.numbers([event], times), times, 0)[0].reason == "time_bounds"


def judged(amounts: list[float], moments: list[datetime], arrived: datetime) -> dict[int, Rejection]:
    pilot = parse(STARTER.replace("max: 1000000", "max: 90000000000"))
    reader = Contract(pilot)
    columns = Columns(pilot, reader)
    events = [reader.read(raw(amount=a, issued=m.isoformat())) for a, m in zip(amounts, moments, strict=True)]
    times = columns.times(events)
    return columns.suspicious(columns.numbers(events, times), times, micros(arrived))


NOW = datetime(2024, 1, 1, tzinfo=UTC)


def test_excess_digits_of_money_are_found_but_binary_noise_is_not() -> None:
    amounts = [57.16, 57.165, 85.64999999999999, 0.1 + 0.2, 0.001, 999_999.999, 1e9 + 0.07]
    bad = judged(amounts, [NOW] * len(amounts), NOW)
    assert {i: (r.reason, r.field) for i, r in bad.items()} == {i: ("scale", "amount") for i in (1, 4, 5)}
    assert bad[1].message == "57.165 has more than 2 digits after the point"


def test_excess_digits_are_found_in_large_sums_too() -> None:
    """A double still holds three digits there; to round silently would change the money."""
    assert judged([12_345_678_901.234], [NOW], NOW)[0].reason == "scale"
    assert judged([12_345_678_901.23], [NOW], NOW) == {}


def test_times_out_of_bounds() -> None:
    day = timedelta(days=1)
    moments = [NOW + day, NOW + day + timedelta(microseconds=1), datetime(1, 1, 2, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)]
    assert {i: r.reason for i, r in judged([1.0] * 4, moments, NOW).items()} == {1: "time_bounds", 2: "time_bounds"}


def test_outcomes_are_read_or_refused_with_one_reason() -> None:
    told = OutcomeContract(parse(STARTER))
    assert told.read(b'{"invoice":"a","late":false}') == Outcome("a", 0.0, None)
    assert told.read({"invoice": "a", "late": "1", "known_at": "1970-01-01T01:00:00+01:00"}) == Outcome("a", 1.0, 0)
    for bad in (b"", b"\xff", b"[" * 9999, b'{"invoice":1,"late":true}', b'{"invoice":"a","late":null}', b'{"invoice":"a","late":1}',
                b'{"invoice":"a","late":true,"known_at":"soon"}', b'{"invoice":"a"}'):
        with pytest.raises(RejectionError) as caught:
            told.read(bad)
        assert caught.value.rejection.reason == "outcome"


def test_an_outcome_that_says_two_things_is_refused() -> None:
    with pytest.raises(RejectionError):
        OutcomeContract(parse(STARTER)).read(b'{"invoice":"a","late":true,"late":false}')
