"""A job on a real Flink, its task manager killed, beside our own worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.kafka.flink import compare
from benchmarks.service.envs import locked
from services.kafka import Kafka, flink_jars, kafka_libs


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_same_bits_also_when_a_task_manager_dies(tmp_path: Path) -> None:
    if kafka_libs() is None or flink_jars() is None:
        pytest.skip("no Kafka, or no connector of Flink: services/install.sh puts them there")
    python, _ = locked("flink", Path("requirements/flink.lock"))
    kafka = Kafka(tmp_path / "kafka")
    try:
        found = compare(kafka, tmp_path, python, 6000, 1)
    finally:
        kafka.stop()
    assert (found["kills"], found["mismatches"]) == (1, 0), found
    assert found["decisions"] > 5900
