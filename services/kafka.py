"""A real Apache Kafka, one broker in KRaft mode, on a private port and folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from services.processes import Process, answers, free_port

_HERE = Path(__file__).parent
_SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.network.threads=2
num.io.threads=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.ms=-1
message.timestamp.before.max.ms=9223372036854775807
"""


def kafka_libs() -> Path | None:
    """The folder with Kafka's jars, where `services/install.sh` put them, and a Java to run them."""
    libs = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flightworthy" / "kafka-4.3.1"
    return libs if (libs / "installed").exists() and shutil.which("java") else None


def flink_jars() -> Path | None:
    """The folder with Flink's connector to Kafka, put there by `services/install.sh`."""
    jars = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flightworthy" / "flink-connector-5.0.0-2.2"
    return jars if (jars / "installed").exists() else None


class Kafka:
    """A broker of its own."""

    def __init__(self, folder: Path, settings: str = "", port: int = 0) -> None:
        libs = kafka_libs()
        assert libs is not None
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.port = folder, port or free_port()
        # A gigabyte as in Kafka's own script, half of it for what is young: in a quarter of one, half of which the log cleaner's
        # buffer takes, all messages waited for the collector every two seconds. SLF4J without a backend is silent.
        self._java = ["java", "-Xms1g", "-Xmx1g", "-Xmn512m", "-XX:+UseSerialGC", "-cp", f"{libs}/*"]
        self._file = folder / "server.properties"
        self._file.write_text(_SETTINGS.format(port=self.port, controller=free_port(), folder=folder) + settings)
        if not (folder / "data" / "meta.properties").exists():
            name = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")  # one in front is an option
            with (folder / "log").open("ab") as log:
                subprocess.run([*self._java, "kafka.tools.StorageTool", "format", "-t", name, "-c", str(self._file)], check=True,
                               stdout=log, stderr=log, timeout=60)
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        self._process = Process([*self._java, "kafka.Kafka", str(self._file)], self._folder / "log")
        if not answers(self.port, 60):
            raise RuntimeError(f"kafka does not answer; see {self._folder}/log")

    @property
    def servers(self) -> str:
        """For a client."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def url(self, topic: str) -> str:
        """For a manifest."""
        return f"kafka://{self.servers}/{topic}"

    def topic(self, name: str, partitions: int = 1, settings: dict[str, str] | None = None) -> str:
        """Make a topic that keeps everything; its URL."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.servers})
        admin.create_topics([NewTopic(name, partitions, 1, config={"retention.ms": "-1", **(settings or {})})])[name].result(30)
        return self.url(name)

    def forget(self, *names: str) -> None:
        """Delete topics."""
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.servers})
        for gone in admin.delete_topics(list(names)).values():
            gone.result(30)

    def kill(self) -> None:
        """As if its machine had gone."""
        self._process.kill()

    def stop(self) -> None:
        """In order."""
        self._process.stop()
