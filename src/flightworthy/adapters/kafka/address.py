"""What a ``kafka://`` URL says."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from flightworthy.ground.errors import AdapterError

FORMATS = ("json", "avro", "json-schema")
_OURS = {"group", "format", "registry"}
# What a worker relies on; everything else of librdkafka may be set in the query.
_FIXED = {"bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "acks",
          "enable.idempotence", "sasl.password", "ssl.key.password"}


@dataclass(frozen=True)
class Address:
    """Servers, topic, how records are written, and settings of the client."""

    servers: str
    topic: str
    group: str
    format: str
    registry: str
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> Address:
        """Read ``kafka://host:port,host:port/topic?…``. The password of SASL comes from KAFKA_PASSWORD, never from the URL.

        Raises `AdapterError`.
        """
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        topic = parts.path.strip("/")
        if not parts.netloc or not topic or "/" in topic:
            raise AdapterError("this is no address of a topic", found=f"kafka://{parts.netloc.rpartition('@')[2]}{parts.path}", expected="kafka://host:port/topic")
        if "@" in parts.netloc:
            raise AdapterError("an address holds no user and no password", where=parts.path,
                               expected="sasl.username in the query, KAFKA_PASSWORD in the environment")
        if taken := sorted(_FIXED & query.keys()):
            raise AdapterError("a worker sets this itself", where=topic, found=taken[0],
                               next_step="leave it out; passwords come from KAFKA_PASSWORD")
        form = query.get("format", "json")
        if form not in FORMATS:
            raise AdapterError("records are not written like that", where=topic, found=form, expected=", ".join(FORMATS))
        if form != "json" and not query.get("registry"):
            raise AdapterError("schemas come from a registry", where=topic, expected="registry=http://host:port in the query")
        settings = {name: value for name, value in query.items() if name not in _OURS}
        if "sasl.username" in settings:
            settings["sasl.password"] = os.environ.get("KAFKA_PASSWORD", "")
        return cls(parts.netloc, topic, query.get("group", ""), form, query.get("registry", ""), settings)

    def client(self) -> dict[str, str | int | bool]:
        """The settings every client of it has."""
        return {"bootstrap.servers": self.servers, "client.id": "flightworthy", **self.settings}
