"""Every way a record can be bad, each with its reason; and what looks bad but is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flightworthy.integration.contract import Contract, RejectionError
from flightworthy.integration.outcomes import OutcomeContract
from flightworthy.manifest.load import load, parse
from tests.conftest import PILOTS

GOOD = {"transaction_id": "T1", "tx_time": "2026-03-02T10:00:00Z", "card_id": "C1", "terminal_id": "M1", "amount": 57.16,
        "channel": "chip"}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(load(PILOTS / "fraud"))


def raw(**changes: Any) -> bytes:
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}, separators=(",", ":")).encode()


def reason(contract: Contract, record: bytes) -> tuple[str, str]:
    with pytest.raises(RejectionError) as caught:
        contract.read(record)
    return caught.value.rejection.reason, caught.value.rejection.field


@pytest.mark.parametrize(("record", "expected"), [
    (raw()[:-9], ("malformed", "")), (b"", ("malformed", "")), (b"\xef\xbb\xbf" + raw(), ("malformed", "")),
    (raw().replace(b"57.16", b"NaN"), ("malformed", "")), (raw().replace(b"57.16", b"Infinity"), ("malformed", "")),
    (raw().replace(b"57.16", b"1e999"), ("range", "amount")), (raw().replace(b"57.16", b"9" * 400), ("range", "amount")),
    (raw(amount=-0.01), ("range", "amount")), (raw(amount=50000.01), ("range", "amount")),
    (raw(amount="57,16"), ("type", "amount")), (raw(amount=None), ("null", "amount")), (raw(amount=True), ("type", "amount")),
    (raw(amount={"value": 1}), ("type", "amount")), (raw(amount=[1]), ("type", "amount")),
    (raw(card_id=...), ("missing_field", "card_id")), (raw(card=1), ("unknown_field", "card")),
    (raw(channel="phone"), ("category", "channel")), (raw(card_id=""), ("length", "card_id")),
    (raw(card_id="x" * 41), ("length", "card_id")), (raw(card_id=5), ("type", "card_id")),
    (raw(tx_time="yesterday"), ("format", "tx_time")), (raw(tx_time="2026-02-30T00:00:00Z"), ("format", "tx_time")),
    (raw()[:-1] + b',"amount":1}', ("duplicate_key", "amount")),
    (raw()[:-1] + b',"amount" : 1}', ("duplicate_key", "amount")),
    (raw()[:-1] + b',"\\u0061mount":1}', ("duplicate_key", "amount")),
    (b"[" + raw() + b"]", ("type", "")), (b'"text"', ("type", "")), (b"null", ("null", "")),
    (raw().replace(b"M1", b"\xff\xfe"), ("encoding", "")), (raw().replace(b"57.16", b'"1') + b"\xc3(", ("encoding", "")),
    (raw() + b" " * 70000, ("too_large", "")), (b"[" * 5000, ("type", "")),
])
def test_a_bad_record_is_refused_for_the_right_reason(contract: Contract, record: bytes, expected: tuple[str, str]) -> None:
    assert reason(contract, record) == expected


@pytest.mark.parametrize("record", [
    raw(), raw(channel=...), raw(channel=None), raw(amount="57.16"), raw(amount=57), raw(card_id='a":"b":'), raw(card_id='\\"x": '),
    raw(tx_time="2026-03-02T12:00:00+02:00"), raw(tx_time="2026-03-02T10:00:00.123456"), b"  " + raw() + b" ",
    raw().replace(b'":', b'" : '),
])
def test_what_only_looks_bad_is_accepted(contract: Contract, record: bytes) -> None:
    assert contract.read(record).transaction_id == "T1"


def test_money_written_as_text_is_the_same_event(contract: Contract) -> None:
    assert contract.read(raw(amount="57.16")) == contract.read(raw())


def test_unknown_fields_can_be_ignored_but_not_twice() -> None:
    text = (PILOTS / "fraud" / "pilot.yaml").read_text().replace("  lateness: 6h", "  lateness: 6h\n  unknown_fields: ignore")
    lax = Contract(parse(text))
    assert lax.read(raw(extra={"deep": [1, {"a": 1}]})).amount == 57.16
    assert reason(lax, raw()[:-1] + b',"x":1,"x":2}') == ("duplicate_key", "x")


def test_rows_of_tables_are_read_like_records(contract: Contract) -> None:
    assert contract.read(GOOD) == contract.read(raw())
    assert contract.read({**GOOD, "amount": "57.16"}).amount == 57.16
    with pytest.raises(RejectionError) as caught:
        contract.read({**GOOD, "amount": float("inf")})
    assert caught.value.rejection.reason == "range"
    assert contract.read_all([GOOD, {**GOOD, "amount": -1}]) is None


def test_outcomes() -> None:
    told = OutcomeContract(load(PILOTS / "fraud"))
    found = told.read(b'{"transaction_id":"T1","fraud":true,"known_at":"1970-01-01T00:00:01Z"}')
    assert (found.event_id, found.label, found.known_at) == ("T1", 1.0, 1_000_000)
    for bad in (b'{"transaction_id":"T1","fraud":1}', b'{"fraud":true}', b'{"transaction_id":"T1","fraud":true,"x":1}', b"\xff"):
        with pytest.raises(RejectionError):
            told.read(bad)
