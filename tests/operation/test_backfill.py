"""Features of a history: to the bit what training sees, whatever the files hold, and nothing half done."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pytest

from flightworthy.decision.learn import History, read_history
from flightworthy.decision.line import Line
from flightworthy.ground.errors import DataError
from flightworthy.integration.sources import rows
from flightworthy.operation.backfill import backfill, refused_beside
from flightworthy.operation.learn import labelled, open_source, outcomes_by_id
from tests.conftest import Trained

MB = 2**20


def trained_on(given: Trained, data: Path, outcomes: Path | None) -> History:
    """What training computes of the same files."""
    told = None if outcomes is None else outcomes_by_id(given.pilot, outcomes.read_bytes().splitlines())
    return read_history(Line(given.pilot, {}), labelled(given.pilot, rows(open_source(str(data), given.pilot).chunks()), told))


def columns(path: Path) -> dict[str, Any]:
    """A Parquet file."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        found: dict[str, Any] = db.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchnumpy()
    return found


def untidy(given: Trained, folder: Path) -> tuple[Path, Path]:
    """The simulated history in disorder, with repeats, broken lines, outcomes told twice and outcomes without an event."""
    rng = random.Random(5)
    lines = given.lines("history")
    lines += [rng.choice(lines) for _ in range(50)]
    rng.shuffle(lines)
    lines[7:7] = [b"{", b'{"invoice": "X", "amount": "\xff"}']
    lines[99:99] = [lines[99].replace(b'"amount": ', b'"amount": -')]
    told = given.lines("history_outcomes")
    told += [line.replace(b"true", b"false") for line in told[::40]] + [b'{"invoice":"nobody","late":true}', b"[]"]
    data, outcomes = folder / "data.ndjson", folder / "outcomes.ndjson"
    data.write_bytes(b"\n".join(lines))
    outcomes.write_bytes(b"\n".join(told))
    return data, outcomes


def test_features_are_those_of_training_to_the_bit(starter_trained: Trained, tmp_path: Path) -> None:
    data, outcomes = untidy(starter_trained, tmp_path)
    made = backfill(starter_trained.pilot, [str(data)], outcomes, tmp_path / "out" / "f.parquet", 64 * MB, lambda _: None)
    expected = trained_on(starter_trained, data, outcomes)
    found, line = columns(tmp_path / "out" / "f.parquet"), Line(starter_trained.pilot, {})
    assert made.events == len(expected.events) > 3500
    assert made.outcomes > 100
    assert made.refused == {**expected.refused, "outcome": 1}
    assert found["invoice"].tolist() == line.contract.event_ids(expected.events)
    assert found["issued"].astype("M8[us]").astype(np.int64).tolist() == expected.times.tolist()
    features = expected.frame[:, line.frames.features]
    for i, name in enumerate(starter_trained.pilot.feature_names):
        assert np.ma.filled(found[name], np.nan).tobytes() == np.ascontiguousarray(features[:, i]).tobytes(), name
    label = starter_trained.pilot.manifest.outcomes.label
    np.testing.assert_array_equal(np.ma.filled(found[label], np.nan), expected.labels)
    there = ~np.isnan(expected.labels)
    known = np.ma.asarray(found["known_at"])
    assert known.data[there].astype("M8[us]").astype(np.int64).tolist() == expected.known[there].tolist()
    assert np.ma.getmaskarray(known)[~there].all()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["f.parquet", "f.parquet.refused.ndjson"]


def test_what_does_not_fit_is_kept_with_its_reason(starter_trained: Trained, tmp_path: Path) -> None:
    data, outcomes = untidy(starter_trained, tmp_path)
    to = tmp_path / "f.parquet"
    backfill(starter_trained.pilot, [str(data)], outcomes, to, 64 * MB, lambda _: None)
    kept = [msgspec.json.decode(line) for line in refused_beside(to).read_bytes().splitlines()]
    assert [one["reason"] for one in kept][:2] == ["malformed", "encoding"]
    assert kept[0]["raw"] == "{"
    assert set(kept[1]["raw"]) == {"base64"}
    assert kept[2]["reason"] == "range"
    assert kept[-1]["reason"] == "outcome"
    data.write_bytes(b"\n".join(starter_trained.lines("history", 100)))
    backfill(starter_trained.pilot, [str(data)], None, to, 64 * MB, lambda _: None)
    assert not refused_beside(to).exists()


def test_several_files_are_one_history(starter_trained: Trained, tmp_path: Path) -> None:
    lines = starter_trained.lines("history", 600)
    (tmp_path / "all.ndjson").write_bytes(b"\n".join(lines))
    (tmp_path / "a.ndjson").write_bytes(b"\n".join(lines[:250]))
    (tmp_path / "b.ndjson").write_bytes(b"\n".join(lines[250:]))
    for name, files in (("one", ["all"]), ("two", ["a", "b"])):
        backfill(starter_trained.pilot, [str(tmp_path / f"{f}.ndjson") for f in files], None, tmp_path / f"{name}.parquet",
                 64 * MB, lambda _: None)
    one, two = columns(tmp_path / "one.parquet"), columns(tmp_path / "two.parquet")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(np.ma.filled(one[name], 0), np.ma.filled(two[name], 0))


def test_nothing_is_left_and_nothing_replaced_where_it_fails(starter_trained: Trained, tmp_path: Path) -> None:
    to = tmp_path / "out" / "f.parquet"
    data = tmp_path / "data.ndjson"
    data.write_bytes(b"{\n[")
    to.parent.mkdir()
    to.write_bytes(b"before")
    with pytest.raises(DataError, match="no event of the history"):
        backfill(starter_trained.pilot, [str(data)], None, to, 64 * MB, lambda _: None)
    assert to.read_bytes() == b"before"
    assert sorted(p.name for p in to.parent.iterdir()) == ["f.parquet", "f.parquet.refused.ndjson"]
    with pytest.raises(DataError, match="no such file"):
        backfill(starter_trained.pilot, ["nowhere.ndjson"], None, to, 64 * MB, lambda _: None)
    data.write_bytes(b"\n".join(starter_trained.lines("history", 5000)))
    with pytest.raises(DataError, match="do not fit") as failed:
        backfill(starter_trained.pilot, [str(data)], None, to, 1 * MB, lambda _: None)
    assert "--memory" in str(failed.value)
    assert to.read_bytes() == b"before"
