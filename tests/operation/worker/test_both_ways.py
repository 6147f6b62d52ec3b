"""One pilot asked over HTTP and through Kafka, with features shared in Redis."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import msgspec
import pytest
import yaml
from services.kafka import Kafka
from services.redis import Redis

from flightworthy.decision.engine import Engine
from flightworthy.ground.errors import DataError
from flightworthy.operation.gateway import envoy
from tests.conftest import Trained
from tests.operation.running import Service
from tests.operation.worker.running import Rig, Topics, until


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_features_agree(kafka: Kafka, redis: Redis, starter_trained: Trained, tmp_path: Path) -> None:
    state = f"state: '{redis.url('9')}?prefix=both-{os.getpid()}'"
    lines = starter_trained.lines("history", 300)
    (tmp_path / "worker").mkdir()
    shutil.copytree(starter_trained.var, tmp_path / "service" / "var")
    rig = Rig(starter_trained, tmp_path / "worker", Topics(kafka, f"both-{os.getpid()}", 1), state)
    service = Service(tmp_path / "service" / "var", f"adapters: {{{state}}}")
    worker = rig.worker()
    try:
        for start in range(0, 300, 50):
            part = lines[start : start + 50]
            if start % 100 == 0:
                assert service.call("POST", "/v1/decisions", b"[" + b",".join(part) + b"]")[0] == 200
            else:
                rig.topics.send(part)
                until(lambda start=start: len(rig.topics.heard()) == (start + 50) // 2)
    finally:
        service.end()
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        rig.end()
    alone = Engine.open(starter_trained.pilot, _copied(starter_trained.var, tmp_path / "alone"))
    # Of features alone: a service that is slow beside other tests falls back, and says so.
    expected = {r.id: msgspec.msgpack.encode(r.features) for r in alone.decide(lines)}
    alone.close()
    found = {r.id: msgspec.msgpack.encode(r.features) for r in rig.records()[0]}
    served = Engine.open(starter_trained.pilot, tmp_path / "service" / "var", snapshots=False)
    for entry in served.ledger.scan(1, ("decision",)):
        record = served.line.records.read(entry)
        found[record.id] = msgspec.msgpack.encode(record.features)
    served.ledger.close()
    assert len(found) == 300
    assert [name for name in expected if found[name] != expected[name]] == []


def _copied(var: Path, to: Path) -> Path:
    shutil.copytree(var, to)
    return to


def test_an_entity_keeps_its_replica(starter_trained: Trained) -> None:
    made = yaml.safe_load(envoy(starter_trained.pilot, ["10.0.0.1:8080", "b:81"], 8000))
    cluster = made["static_resources"]["clusters"][0]
    assert cluster["lb_policy"] == "RING_HASH"
    assert [end["endpoint"]["address"]["socket_address"]["port_value"] for end in
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]] == [8080, 81]
    filters = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert '"customer_id"%s*:' in filters[0]["typed_config"]["default_source_code"]["inline_string"]
    for wrong in ([], ["nowhere"], ["a:b"]):
        with pytest.raises(DataError):
            envoy(starter_trained.pilot, wrong, 8000)
