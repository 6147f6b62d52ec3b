"""Files: what is read, what is passed on raw, what is refused as a whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.integration.sources import Row
from flightworthy.integration.sources import rows as rows_of
from flightworthy.manifest.load import load
from flightworthy.operation.learn import open_source
from tests.conftest import PILOTS

PILOT = load(PILOTS / "fraud")
LINE = b'{"transaction_id":"1","tx_time":"2026-03-02T10:00:00Z","card_id":"C","terminal_id":"M","amount":1.5}'


def rows(path: Path, data: bytes) -> list[Row]:
    path.write_bytes(data)
    return list(rows_of(open_source(str(path), PILOT).chunks()))


def test_ndjson_with_mark_blank_lines_and_a_cut_last_line(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.ndjson", b"\xef\xbb\xbf" + LINE + b"\r\n\n" + LINE[:30])
    assert [r.raw for r in found] == [LINE, LINE[:30]]
    assert [r.raw for r in rows(tmp_path / "b.ndjson.gz", gzip.compress(LINE + b"\n"))] == [LINE]
    with pytest.raises(DataError, match="cannot read"):
        rows(tmp_path / "c.ndjson.gz", gzip.compress(LINE * 50)[:40])


def test_ndjson_with_other_names_is_renamed_and_labelled(tmp_path: Path) -> None:
    renamed = LINE.replace(b"transaction_id", b"TRANSACTION_ID").replace(b"1.5}", b'1.5,"TX_FRAUD":1,"other":2}')
    found = rows(tmp_path / "a.ndjson", renamed + b"\nbroken\n")
    assert found[0].label == 1.0
    assert isinstance(found[0].raw, dict)
    assert found[0].raw["transaction_id"] == "1"
    assert found[1].raw == b"broken"


def test_csv_with_quoted_newline_bad_bytes_and_wrong_width(tmp_path: Path) -> None:
    head = b"TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,channel,TX_FRAUD\n"
    found = rows(tmp_path / "a.csv", head + b'1,2026-03-02 10:00:00,"C\n1",M,1.5,,0\n2,x,\xff,M,1,chip,1\n3,only\n')
    assert isinstance(found[0].raw, dict)
    assert (found[0].raw["card_id"], found[0].raw["channel"], found[0].label) == ("C\n1", None, 0.0)
    assert [r.raw for r in found[1:]] == [b"2,x,\xff,M,1,chip,1\n", b"3,only\n"]


def test_parquet_types_nan_and_missing_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql("SELECT 7 AS TRANSACTION_ID, TIMESTAMPTZ '2026-03-02 10:00:00+02' AS TX_DATETIME, 1::SMALLINT AS CUSTOMER_ID, "
               "'M' AS TERMINAL_ID, 'nan'::DOUBLE AS TX_AMOUNT, 1::TINYINT AS TX_FRAUD").write_parquet(str(path))
    source = open_source(str(path), PILOT)
    found = list(rows_of(source.chunks()))
    assert source.length() == 1
    assert found[0].label == 1.0
    assert found[0].raw == {"transaction_id": "7", "tx_time": "2026-03-02T08:00:00.000000Z", "card_id": "1", "terminal_id": "M",
                            "amount": None}
    duckdb.sql("SELECT 1 AS x").write_parquet(str(path))
    with pytest.raises(DataError, match="no column for transaction_id, tx_time"):
        open_source(str(path), PILOT)
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="not a Parquet file"):
        open_source(str(path), PILOT)


def test_unknown_places(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(DataError, match="unknown kind of file"):
        open_source(str(tmp_path / "a.xlsx"), PILOT)
    with pytest.raises(DataError, match="no such file"):
        open_source(str(tmp_path / "none.csv"), PILOT)
    with pytest.raises(AdapterError, match="no adapter for 'mqtt:'"):
        open_source("mqtt://broker/topic", PILOT)
