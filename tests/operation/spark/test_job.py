"""Features of a history in Apache Spark: the bits of one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.backfill import columns, compare, differ
from benchmarks.service.envs import locked

from flightworthy.ground.errors import AdapterError
from flightworthy.operation.spark import job
from tests.conftest import PILOTS, Trained


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with Spark."""
    return locked("spark", Path("requirements/spark.lock"))[0]


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_bits_of_one_machine_and_of_training(python: Path, tmp_path: Path) -> None:
    found = compare(tmp_path, 20_000, python)
    assert (found["mismatches_training"], found["mismatches_spark"]) == (0, 0), found
    assert found["events"] > 19_000
    assert found["features"] > 15
    refused = [json.loads(line) for part in (tmp_path / "spark.refused").glob("part-*") for line in part.read_bytes().splitlines()]
    assert len(refused) > 30
    assert {one["reason"] for one in refused} >= {"malformed", "encoding", "type"}
    here = [json.loads(line) for line in (tmp_path / "one.parquet.refused.ndjson").read_bytes().splitlines()]
    assert sorted(map(str, here)) == sorted(map(str, refused))


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_parquet_with_labels_beside_the_events(python: Path, tmp_path: Path) -> None:
    from benchmarks import traffic

    traffic.write(tmp_path / "a.parquet", 4000, seed=1)
    pilot = PILOTS / "fraud"
    for to, with_, engine in (("one.parquet", sys.executable, []), ("spark", str(python), ["--engine", "spark:local[2]"])):
        subprocess.run([with_, "-m", "flightworthy", "backfill", str(pilot), "--data", str(tmp_path / "a.parquet"),
                        "--to", str(tmp_path / to), *engine], check=True, capture_output=True, timeout=600)
    from flightworthy.manifest.load import load

    one, spark = (columns(str(tmp_path / name), load(pilot)) for name in ("one.parquet", "spark/*.parquet"))
    assert len(one["transaction_id"]) > 3900
    assert differ(one, spark) == 0


def test_without_spark_it_says_what_to_install(starter_trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"flightworthy\[spark\]"):
        job.backfill(PILOTS / "starter", ["x.ndjson"], None, str(tmp_path / "out"), "spark")


@pytest.mark.parametrize("engine", ["flink", "sparks:", "hadoop://x"])
def test_no_such_engine(engine: str) -> None:
    with pytest.raises(AdapterError, match="no such engine"):
        job._master(engine)


def test_what_a_worker_said_is_told() -> None:
    trace = "[PYTHON_EXCEPTION] An exception …\nTraceback\n  File …\nflightworthy.ground.errors.DataError: table: no column for x\n\tat org"
    assert job._cause(trace) == "table: no column for x"
    assert job._cause("[PATH_NOT_FOUND] Path does not exist: x. SQLSTATE: 42K03\nmore") == (
        "[PATH_NOT_FOUND] Path does not exist: x. SQLSTATE: 42K03")


def test_masters() -> None:
    assert [job._master(e) for e in ("spark", "spark:yarn", "spark:local[3]", "spark://h:7077")] == [
        "local[*]", "yarn", "local[3]", "spark://h:7077"]
