"""Labels, ids and times of files that are typed loosely, and records no clock can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import msgspec

from flightworthy.decision.admission import bytes_of
from flightworthy.integration.contract import Contract
from flightworthy.integration.outcomes import OutcomeContract
from flightworthy.integration.sources import Row, chunked
from flightworthy.manifest.load import load, parse
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.feed import Lot, merged
from flightworthy.operation.learn import open_source
from tests.conftest import PILOTS

TEXT = (PILOTS / "starter" / "pilot.yaml").read_text()
NATIVE = {"invoice": "A", "issued": "2026-01-01T00:00:00Z", "customer_id": "K", "amount": 1.5, "terms": "net30"}


def changed(field: str, spec: str) -> Pilot:
    """The starter pilot with another type of one field."""
    lines = [f"    {field}: {spec}" if line.startswith(f"    {field}: ") else line for line in TEXT.splitlines()]
    return parse("\n".join(lines) + "\n")


def outcomes(lots: list[Lot]) -> list[Any]:
    return [raw for lot in lots for raw, kind in zip(lot.raws, lot.kinds or [0] * len(lot.raws), strict=True) if kind == 1]


def events(pilot: Pilot, lots: list[Lot]) -> int:
    """How many fit the contract."""
    raws = [raw for lot in lots for raw, kind in zip(lot.raws, lot.kinds or [0] * len(lot.raws), strict=True) if kind == 0]
    return sum(Contract(pilot).read_all([raw]) is not None or bool(Contract(pilot).read(raw)) for raw in raws)


def csv_of(path: Path, rows: int) -> Path:
    names = "invoice,issued,customer_id,amount,terms,late\n"
    path.write_text(names + "".join(f"{i},{1_760_000_000 + i * 86400},K,1.5,net30,{i % 2}\n" for i in range(rows)))
    return path


def test_csv_with_integer_times_keeps_its_labels(tmp_path: Path) -> None:
    pilot = changed("issued", "{type: time, unit: 1s}")
    lots = list(merged(pilot, open_source(str(csv_of(tmp_path / "a.csv", 40)), pilot).chunks(), until=2**62))
    assert len(outcomes(lots)) == 20
    assert events(pilot, lots) == 40
    assert sum(lot.kinds is not None for lot in lots) >= 1
    told = outcomes(lots)[0]
    assert OutcomeContract(pilot).read(told).event_id == "1"
    positions = [i for lot in lots for i, kind in enumerate(lot.kinds or []) if kind == 1]
    assert min(positions) < 40  # within the stream, not all after it


def test_csv_with_integer_ids_gives_readable_outcomes(tmp_path: Path) -> None:
    pilot = changed("invoice", "{type: integer}")
    path = tmp_path / "a.csv"
    lines = ["invoice,issued,customer_id,amount,terms,late", *(f"{i},2026-01-0{i + 1}T00:00:00Z,K,1.5,net30,1" for i in range(4))]
    path.write_text("\n".join(lines) + "\n")
    told = outcomes(list(merged(pilot, open_source(str(path), pilot).chunks(), until=2**62)))
    assert [OutcomeContract(pilot).read(raw).event_id for raw in told] == ["0", "1", "2", "3"]
    assert msgspec.json.decode(bytes_of(told[0]))["invoice"] == "0"


def test_a_label_that_is_no_number_is_no_outcome(tmp_path: Path) -> None:
    pilot = load(PILOTS / "starter")
    path = tmp_path / "a.parquet"
    duckdb.connect().execute(
        "COPY (SELECT 'A' || i AS invoice, TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL (i) DAY AS issued, 'K' AS customer_id, "
        "1.5 AS amount, 'net30' AS terms, CASE WHEN i % 2 = 0 THEN 'nan'::DOUBLE ELSE 1 END AS late FROM range(6) t(i)) "
        f"TO '{path}' (FORMAT parquet)")
    told = outcomes(list(merged(pilot, open_source(str(path), pilot).chunks(), until=2**62)))
    assert [OutcomeContract(pilot).read(raw).event_id for raw in told] == ["A1", "A3", "A5"]
    rows = [Row(NATIVE, float("nan")), Row({**NATIVE, "invoice": "B"}, float("inf"))]
    assert outcomes(list(merged(pilot, chunked(rows), until=2**62))) == []


def test_records_no_clock_can_hold_pass_on(tmp_path: Path) -> None:
    pilot = load(PILOTS / "starter")
    wild = Row({**NATIVE, "issued": "9999-12-31T00:00:00Z"}, 1.0)
    lots = list(merged(pilot, chunked([wild]), [b"[" * 100_000, b'{"known_at": 1e400}'], until=2**62))
    assert sum(len(lot.raws) for lot in lots) == 4
    units = changed("issued", "{type: time, unit: 1s}")
    rows = [Row(msgspec.json.encode({**NATIVE, "issued": at})) for at in (10**18, 1e300, -1)]
    rows += [Row({**NATIVE, "issued": float("inf")}), Row(b'{"issued": 1' + b"0" * 30 + b"}")]
    assert sum(len(lot.raws) for lot in merged(units, chunked(rows))) == 5


def test_each_line_of_ndjson_is_read_by_its_own_names(tmp_path: Path) -> None:
    path, pilot = tmp_path / "a.ndjson", load(PILOTS / "fraud")
    foreign = {"TRANSACTION_ID": "1", "TX_DATETIME": "2026-01-01T00:00:00Z", "CUSTOMER_ID": "C", "TERMINAL_ID": "M", "TX_AMOUNT": 1.5}
    native = {"transaction_id": "2", "tx_time": "2026-01-01T00:00:00Z", "card_id": "C", "terminal_id": "M", "amount": 1.5}
    lines = [{"transaction_id": "x", "oops": 1}, {"TX_AMOUNT": 2}, foreign, foreign | {"TX_FRAUD": 1}, native, native | {"fraud": True}]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    rows = [row for chunk in open_source(str(path), pilot).chunks() for row in chunk.rows()]
    assert [row.label for row in rows] == [None, None, None, 1.0, None, 1.0]
    assert rows[0].raw == msgspec.json.encode(lines[0]) and rows[4].raw == msgspec.json.encode(native)
    assert rows[2].raw["transaction_id"] == "1" and rows[5].raw == native
