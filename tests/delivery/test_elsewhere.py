"""The demonstration gives the same numbers on other servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from services.kafka import Kafka
from services.postgres import Postgres
from services.redis import Redis

from tests.conftest import PILOTS

TIMED = {"decisions_per_second", "stages", "clocks", "seconds", "command", "date", "bytes_per_entity", "memory", "latency"}


def demo(out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, figures, and what was said."""
    done = subprocess.run([sys.executable, "-m", "flightworthy", "demo", str(PILOTS / "starter"), "--out", str(out), *options],
                          capture_output=True, text=True, timeout=150, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    path = out / "summary.json"
    return done.returncode, json.loads(path.read_text()) if path.exists() else {}, done.stderr


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_numbers_are_those_of_the_embedded_demo(kafka: Kafka, server: Postgres, redis: Redis, tmp_path: Path) -> None:
    code, embedded, said = demo(tmp_path / "embedded")
    assert code == 0, said
    urls = ["--events", kafka.url(f"demo-{os.getpid()}"), "--ledger", server.url(f"demo_{os.getpid()}"), "--state", redis.url("7")]
    code, moved, said = demo(tmp_path / "moved", *urls)
    assert code == 0, said
    same = embedded.keys() - TIMED
    assert {name: moved[name] for name in same} == {name: embedded[name] for name in same}
    assert moved["decisions"] > 1000
    assert moved["replay_mismatches"] == 0
    code, _, said = demo(tmp_path / "again", *urls)
    assert code == 2
    assert "belongs to another log" in said  # its key went with the folder
    code, _, said = demo(tmp_path / "again", *urls[:2])
    assert code == 2
    assert "this topic holds records already" in said
