"""Shared material: the starter pilot with simulated data, trained once for the whole run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from services.kafka import Kafka, kafka_libs
from services.objects import KEY, SECRET, Objects
from services.postgres import Postgres, postgres_programs
from services.redis import Redis, redis_program

from flightworthy.decision.engine import Engine
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation import learn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: OpenMP threads of several would spin for the same cores
# Pytest limits each test; how long one example takes says more about the machine.
settings.register_profile("flightworthy", deadline=None)
settings.load_profile("flightworthy")
PILOTS = Path(__file__).parent.parent / "src" / "flightworthy" / "pilots"


@dataclass(frozen=True)
class Trained:
    """A pilot with data files and a trained model in ``var``."""

    pilot: Pilot
    data: Path
    var: Path
    made: dict[str, Any]

    def lines(self, name: str, count: int | None = None) -> list[bytes]:
        """Records of one of the simulated files."""
        return (self.data / self.made[name]).read_bytes().splitlines()[:count]


@pytest.fixture(scope="session")
def starter_trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The starter pilot, trained on a small simulated history."""
    folder = tmp_path_factory.mktemp("starter")
    spec = importlib.util.spec_from_file_location("starter_simulator", PILOTS / "starter" / "simulate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.simulate(folder, 3, 5000, 200)
    pilot = load(PILOTS / "starter")
    told = learn.outcomes_by_id(pilot, (folder / made["history_outcomes"]).read_bytes().splitlines())
    past = rows(learn.open_source(str(folder / made["history"]), pilot).chunks())
    learn.learn(pilot, learn.labelled(pilot, past, told), folder / "var")
    return Trained(pilot, folder, folder / "var", made)


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run; every test has a schema of its own in it. Not in pytest's own folder: another run
    beside this one may clear that away."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="flightworthy-") as folder:
        made = Postgres(Path(folder))
        yield made
        made.stop("immediate")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A Kafka broker for the whole run; every test has topics of its own in it."""
    if kafka_libs() is None:
        pytest.skip("Kafka is not installed: run services/install.sh")
    with tempfile.TemporaryDirectory(prefix="flightworthy-") as folder:
        made = Kafka(Path(folder))
        yield made
        made.stop()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis for the whole run; every test has a database of its own in it."""
    if redis_program() is None:
        pytest.skip("Redis is not installed")
    with tempfile.TemporaryDirectory(prefix="flightworthy-") as folder:
        made = Redis(Path(folder))
        yield made
        made.stop()


@pytest.fixture(scope="session")
def objects() -> Iterator[Objects]:
    """An object store that the tests share."""
    with tempfile.TemporaryDirectory(prefix="flightworthy-") as folder:
        made = Objects(Path(folder))
        os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        yield made
        made.kill()


@pytest.fixture
def open_engine(starter_trained: Trained, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Opens engines over a copy of the trained pilot's rooms; the same folder every time within a test."""
    var = tmp_path / "var"
    shutil.copytree(starter_trained.var, var)
    opened: list[Engine] = []

    def open_(**options: Any) -> Engine:
        engine = Engine.open(options.pop("pilot", starter_trained.pilot), var, **options)
        opened.append(engine)
        return engine

    yield open_
    for engine in opened:
        engine.ledger.close()


@pytest.fixture
def start(starter_trained: Trained, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts services over a copy of the trained pilot's rooms, the same every time within a test."""
    from tests.operation.running import Service

    var = tmp_path / "var"
    shutil.copytree(starter_trained.var, var)
    started: list[Service] = []

    def start_(*args: Any, **options: Any) -> Service:
        started.append(Service(var, *args, **options))
        return started[-1]

    yield start_
    for service in started:
        service.end()
