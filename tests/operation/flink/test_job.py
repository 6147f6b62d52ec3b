"""What is said before anything comes to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.connector import _settings
from flightworthy.cli.main import app
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.operation.flink.address import Cluster
from flightworthy.operation.flink.parcel import pack, unpack
from tests.conftest import PILOTS, Trained


def test_a_cluster_is_an_address() -> None:
    assert Cluster.of("flink") == Cluster.of("flink:") == Cluster()
    said = Cluster.of("flink://jobs:8082?checkpoints=s3://bucket/x&parallelism=3&every=1m&keep=90d&backend=rocksdb")
    assert (said.host, said.port, said.checkpoints, said.parallelism) == ("jobs", 8082, "s3://bucket/x", 3)
    assert (said.milliseconds("every"), said.milliseconds("keep"), said.milliseconds("idle")) == (60_000, 90 * 86_400_000, 5_000)
    assert Cluster().milliseconds("keep") == 0


@pytest.mark.parametrize("url", ["spark", "flink://a:b", "flink:?colour=red", "flink:?every=soon", "flink:?parallelism=0",
                                 "flink:?backend=paper", "flink://me:secret@jobs"])
def test_what_is_no_cluster_is_refused(url: str) -> None:
    with pytest.raises(AdapterError):
        Cluster.of(url)


def test_a_pilot_travels_with_its_models(starter_trained: Trained) -> None:
    pilot, models = unpack(pack(PILOTS / "starter", starter_trained.var))
    assert pilot.digest == starter_trained.pilot.digest
    assert set(models) == {"champion"}


def test_people_who_are_protected_do_not_travel(tmp_path: Path) -> None:
    manifest = (PILOTS / "starter" / "pilot.yaml").read_text()
    (tmp_path / "pilot.yaml").write_text(manifest + "\nprivacy: {subject: customer, purpose: credit}\n")
    with pytest.raises(DataError, match="protects people"):
        pack(tmp_path, tmp_path / "var")


def test_settings_of_the_client_become_those_of_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", 'a"b')
    said = _settings(Address.of("kafka://b:9/t?security.protocol=SASL_SSL&sasl.mechanisms=SCRAM-SHA-512&sasl.username=me"
                                "&ssl.ca.location=/ca.pem"))
    assert said == {
        "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "ssl.truststore.location": "/ca.pem",
        "ssl.truststore.type": "PEM", "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="me" password="a\\"b";'}
    with pytest.raises(AdapterError):
        _settings(Address.of("kafka://b:9/t?sasl.mechanisms=GSSAPI&sasl.username=me"))


def test_without_flink_it_says_what_to_install(starter_trained: Trained) -> None:
    common = ["stream", str(PILOTS / "starter"), "--var", str(starter_trained.var), "--events", "kafka://127.0.0.1:1/e"]
    for more, said in ((["--decisions", "kafka://127.0.0.1:1/d", "--engine", "flink"], "flightworthy[flink]"),
                       (["--entries", "kafka://127.0.0.1:1/x"], "ledger"),
                       (["--engine", "flink", "--metrics", "127.0.0.1:1"], "of a worker")):
        result = CliRunner().invoke(app, [*common, *more])
        assert result.exit_code
        assert said in str(result.exception) + result.output
