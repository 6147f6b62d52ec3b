"""Damaged files end in a `DataError` or a raw row, whatever the damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from flightworthy.adapters.files.factory import open_source
from flightworthy.ground.errors import DataError
from flightworthy.integration.sources import Row
from flightworthy.integration.sources import rows as rows_of
from flightworthy.manifest.load import load, parse
from tests.conftest import PILOTS

PILOT = load(PILOTS / "fraud")
NAMES = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT"
HEAD = NAMES.encode() + b",TX_FRAUD\n"
ROW = b"1,2026-03-02 10:00:00,C,M,1.5,1\n"


def rows(path: Path, data: bytes) -> list[Row]:
    path.write_bytes(data)
    return list(rows_of(open_source(str(path), PILOT).chunks()))


def test_a_gz_file_with_any_byte_damaged_is_a_data_error(tmp_path: Path) -> None:
    packed = gzip.compress(HEAD + b"".join(b"%d" % i + ROW for i in range(2000)))
    for at in range(20, len(packed), len(packed) // 40):
        damaged = bytearray(packed)
        damaged[at] ^= 0xFF
        with pytest.raises(DataError):
            rows(tmp_path / "a.csv.gz", bytes(damaged))


@pytest.mark.parametrize("header", [b'"TRANSACTION_ID', b'"a"b,c\n1,2\n', b"a\rb\n"])
def test_a_header_that_is_no_csv_is_a_data_error(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(DataError):
        rows(tmp_path / "a.csv", header)


def test_csv_passes_on_what_it_cannot_split_and_goes_on(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.csv", b"\xef\xbb\xbf" + HEAD + ROW + b'2,"x"y,C,M,1,0\n' + ROW + b"\n" + b'4,"open\nto the end,1')
    assert [r.label for r in found] == [1.0, None, 1.0, None]
    assert [r.raw for r in found[1::2]] == [b'2,"x"y,C,M,1,0\n', b'4,"open\nto the end,1']
    assert found[0].raw == {"transaction_id": "1", "tx_time": "2026-03-02 10:00:00", "card_id": "C", "terminal_id": "M",
                            "amount": "1.5"}
    assert rows(tmp_path / "b.csv", b"") == []
    assert rows(tmp_path / "c.csv", HEAD.replace(b"\n", b"\r\n") + ROW.replace(b"\n", b"\r\n"))[0].label == 1.0


@pytest.mark.parametrize(("cell", "label"), [(b"", None), (b"0", 0.0), (b"TRUE", 1.0), (b"false", 0.0), (b"2.5", 2.5)])
def test_labels_of_csv(tmp_path: Path, cell: bytes, label: float | None) -> None:
    assert rows(tmp_path / "a.csv", HEAD + ROW.replace(b",1\n", b"," + cell + b"\n"))[0].label == label


def test_a_label_that_is_none_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a number nor a truth value"):
        rows(tmp_path / "a.csv", HEAD + ROW.replace(b",1\n", b",perhaps\n"))
    duckdb.sql(f"SELECT * FROM (VALUES ('1', '2026-03-02', 'C', 'M', 1.5, 'perhaps')) t({NAMES}, TX_FRAUD)").write_parquet(
        str(tmp_path / "a.parquet"))
    with pytest.raises(DataError):
        list(rows_of(open_source(str(tmp_path / "a.parquet"), PILOT).chunks()))


def test_the_time_a_label_became_known_is_read_in_all_three_forms(tmp_path: Path) -> None:
    pilot = parse((PILOTS / "fraud" / "pilot.yaml").read_text().replace("  columns: [TX_FRAUD]", "  columns: [TX_FRAUD]\n  known_at: KNOWN"))
    (tmp_path / "a.csv").write_bytes(HEAD[:-1] + b",KNOWN\n" + ROW[:-1] + b",1970-01-01T00:00:01Z\n")
    (tmp_path / "a.jsonl").write_text('{"TRANSACTION_ID":"1","TX_DATETIME":"2026-03-02T10:00:00Z","CUSTOMER_ID":"C","TERMINAL_ID":"M",'
                                      '"TX_AMOUNT":1.5,"TX_FRAUD":true,"KNOWN":"1970-01-01T00:00:01"}\n')
    duckdb.sql(f"SELECT * FROM (VALUES ('1', '2026-03-02', 'C', 'M', 1.5, true, TIMESTAMP '1970-01-01 00:00:01')) "
               f"t({NAMES}, TX_FRAUD, KNOWN)").write_parquet(str(tmp_path / "a.parquet"))
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        found = list(rows_of(open_source(f"file://{tmp_path / name}", pilot).chunks()))
        assert [(r.label, r.known_at) for r in found] == [(1.0, 1_000_000)], name


def test_a_parquet_name_is_a_name_and_not_a_pattern(tmp_path: Path) -> None:
    for name, count in (("a[1].parquet", 2), ("a1.parquet", 3)):
        duckdb.sql(f"SELECT i::VARCHAR AS TRANSACTION_ID, '2026-03-02' AS TX_DATETIME, 'C' AS CUSTOMER_ID, 'M' AS TERMINAL_ID, "
                   f"1.5 AS TX_AMOUNT FROM range({count}) t(i)").write_parquet(str(tmp_path / name.replace("[1]", "x")))
    (tmp_path / "ax.parquet").rename(tmp_path / "a[1].parquet")
    assert open_source(str(tmp_path / "a[1].parquet"), PILOT).length() == 2


def test_a_parquet_file_cut_off_or_damaged_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql("SELECT i::VARCHAR AS TRANSACTION_ID, '2026-03-02' AS TX_DATETIME, md5(i::VARCHAR) AS CUSTOMER_ID, 'M' AS TERMINAL_ID, "
               "1.5 AS TX_AMOUNT FROM range(20000) t(i)").write_parquet(str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="not a Parquet file"):
        open_source(str(path), PILOT)
    path.write_bytes(whole[:40] + b"\xff" * 4000 + whole[4040:])
    with pytest.raises(DataError):
        list(rows_of(open_source(str(path), PILOT).chunks()))
