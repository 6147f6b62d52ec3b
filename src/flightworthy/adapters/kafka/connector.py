"""A topic as Flink's connector to Kafka sees it."""

from __future__ import annotations

from urllib.parse import urlsplit

from flightworthy.adapters.kafka.address import Address
from flightworthy.ground.errors import AdapterError

# librdkafka's names → those of Kafka's own client, where they differ.
_JAVA = {"sasl.mechanisms": "sasl.mechanism", "ssl.ca.location": "ssl.truststore.location",
         "ssl.certificate.location": "ssl.keystore.location"}
_LOGIN = {"PLAIN": "plain.PlainLoginModule", "SCRAM-SHA-256": "scram.ScramLoginModule",
          "SCRAM-SHA-512": "scram.ScramLoginModule"}


def open_connector(url: str, **_: object) -> tuple[dict[str, str], int]:
    """Options of Flink's table for ``kafka://host:port/topic?…``; how many partitions the topic has. Raises `AdapterError`."""
    from flightworthy.adapters.kafka.factory import open_stream

    address = Address.of(url)
    if address.format != "json":
        raise AdapterError("Flink's job reads JSON", where=address.topic, found=address.format, expected="format=json",
                           next_step="run: flightworthy stream, without --engine")
    stream = open_stream(url)
    stream.close()
    return {"connector": "kafka", "topic": address.topic, "properties.bootstrap.servers": address.servers,
            **{f"properties.{name}": value for name, value in _settings(address).items()}}, stream.partitions


def _settings(address: Address) -> dict[str, str]:
    out = {_JAVA.get(name, name): str(value) for name, value in address.settings.items()
           if name not in ("sasl.username", "sasl.password")}
    for store in ("truststore", "keystore"):
        if f"ssl.{store}.location" in out:
            out[f"ssl.{store}.type"] = "PEM"
    if "sasl.username" in address.settings:
        mechanism = out.setdefault("sasl.mechanism", "PLAIN")
        if mechanism not in _LOGIN:
            raise AdapterError("Flink's job does not know this login", where=urlsplit(address.servers).path, found=mechanism,
                               expected=", ".join(_LOGIN))
        user, password = (_quoted(address.settings[f"sasl.{what}"]) for what in ("username", "password"))
        out["sasl.jaas.config"] = (f"org.apache.kafka.common.security.{_LOGIN[mechanism]} required username={user} "
                                   f"password={password};")
    return out


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
