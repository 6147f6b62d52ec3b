"""What ``--engine flink…`` says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from urllib.parse import parse_qsl, urlsplit

from flightworthy.ground.clock import duration
from flightworthy.ground.errors import AdapterError


@dataclass(frozen=True)
class Cluster:
    """``flink://host:port?…``, or ``flink`` for one inside this process.

    ``checkpoints``: a URL of Flink's file systems; ``every``: between two of them; ``idle``: after how long without a record a
    partition holds up no other; ``keep``: how long entries stay in the state, empty: for ever; ``backend``: rocksdb for state
    larger than memory; ``jars``: a folder with the connector to Kafka, where the cluster does not have it; ``python``: the
    task managers' interpreter.
    """

    host: str = ""
    port: int = 8081
    checkpoints: str = ""
    every: str = "10s"
    idle: str = "5s"
    keep: str = ""
    parallelism: int = 1
    backend: str = "hashmap"
    jars: str = ""
    python: str = ""

    @classmethod
    def of(cls, url: str) -> Cluster:
        """Raises `AdapterError`."""
        parts = urlsplit(url if ":" in url else f"{url}:")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        known = {f.name for f in fields(cls)} - {"host", "port"}
        try:
            if parts.scheme != "flink" or parts.username or parts.password:
                raise ValueError(parts.scheme)
            if unknown := sorted(given.keys() - known):
                raise AdapterError("a cluster has no such setting", found=unknown[0], expected=", ".join(sorted(known)))
            number = int(given.pop("parallelism", 1))
            out = cls(parts.hostname or "", parts.port or 8081, parallelism=number, **given)
            _ = [out.milliseconds(name) for name in ("every", "idle", "keep")]
        except (ValueError, TypeError) as error:
            raise AdapterError(f"this is no engine: {error}", found=url,
                               expected="flink, or flink://host:8081?checkpoints=file:///…") from error
        if out.backend not in ("hashmap", "rocksdb") or number < 1:
            raise AdapterError("this is no engine", found=url, expected="backend=hashmap or rocksdb, parallelism of 1 or more")
        return out

    def milliseconds(self, name: str) -> int:
        """A span among the settings; 0 where it is empty. Raises `ValueError`."""
        text: str = getattr(self, name)
        return duration(text) // 1000 if text else 0
