"""Splunk's HTTP Event Collector, with acknowledgement: a batch is done when an indexer says so, not when it was received."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import uuid
from typing import Any
from urllib.parse import SplitResult

import msgspec

from flightworthy.governance.export import Batch, Line
from flightworthy.ground.errors import AdapterError

_WAIT = 0.1  # seconds between questions whether a batch is indexed
_LONGEST = 30.0  # seconds until a batch without an answer is sent again
_BUSY = (429, 503)  # the queue of the collector is full


class Hec:
    """Of one collector. Entries arrive once or more, in order: the next batch waits for the one before."""

    def __init__(self, address: SplitResult, token: str, context: ssl.SSLContext | None, index: str = "") -> None:
        self._host, self._port = address.hostname or "", address.port or 8088
        self._path = address.path.rstrip("/") or "/services/collector"
        self._context, self._index = context, index
        self._headers = {"Authorization": f"Splunk {token}", "X-Splunk-Request-Channel": str(uuid.uuid4()),
                         "Content-Type": "application/json"}
        self._line: http.client.HTTPConnection | None = None
        self._where = f"{self._host}:{self._port}"

    def take(self, batch: Batch) -> None:
        body = b"".join(map(self._event, batch.lines)) + self._checkpoint(batch)
        sent = self._ask("/event", body)
        if "ackId" not in sent:
            raise AdapterError("the collector gives no acknowledgement: what it took may be lost", where=self._where, found=sent,
                               next_step="turn on indexer acknowledgement for this token")
        until = time.monotonic() + _LONGEST
        while True:
            told = self._ask("/ack", json.dumps({"acks": [sent["ackId"]]}).encode())
            if told.get("acks", {}).get(str(sent["ackId"])):
                return
            if time.monotonic() > until:
                raise AdapterError("the collector did not index a batch in time", where=self._where, retryable=True)
            time.sleep(_WAIT)

    def _event(self, line: Line) -> bytes:
        return self._wrapped(line.time, msgspec.to_builtins(line), line.log)

    def _checkpoint(self, batch: Batch) -> bytes:
        last = batch.lines[-1]
        return self._wrapped(last.time, {"kind": "checkpoint", "note": batch.checkpoint.decode()}, last.log)

    def _wrapped(self, at: int, event: Any, log: str) -> bytes:
        members = {"time": f"{at / 1e6:.6f}", "source": log, "sourcetype": "flightworthy:entry", "event": event}
        return msgspec.json.encode(members | ({"index": self._index} if self._index else {}))

    def _ask(self, path: str, body: bytes) -> Any:
        try:
            if self._line is None:
                self._line = http.client.HTTPConnection(self._host, self._port, timeout=10) if self._context is None else \
                    http.client.HTTPSConnection(self._host, self._port, timeout=10, context=self._context)
            self._line.request("POST", f"{self._path}{path}", body, self._headers)
            answer = self._line.getresponse()
            content = answer.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise AdapterError(f"the collector cannot be reached: {type(error).__name__}: {error}", where=self._where,
                               retryable=True) from error
        if answer.status != 200:
            raise AdapterError("the collector refused", where=self._where, found=f"{answer.status} {content[:200]!r}",
                               retryable=answer.status in _BUSY or answer.status >= 500,
                               next_step="see whether the token is right and its acknowledgement on")
        try:
            return json.loads(content)
        except ValueError as error:
            raise AdapterError("the collector's answer is no JSON", where=self._where, found=content[:200]) from error

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
