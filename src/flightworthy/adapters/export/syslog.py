"""Syslog over TLS: messages as RFC 5424 has them, framed by their length as RFC 5425 has it.

Syslog has no acknowledgement. A batch counts as delivered when the receiver has ended TLS in answer to our end: then it has read
all of it. A connection that ends otherwise has its batch sent again.
"""

from __future__ import annotations

import os
import socket
import ssl

import msgspec

from flightworthy.governance.export import Batch, Line
from flightworthy.ground.clock import iso
from flightworthy.ground.errors import AdapterError

_PRIORITY = 13 * 8 + 5  # facility 13: log audit; severity 5: notice
_ENTERPRISE = 32473  # reserved for documentation, RFC 5612: private structured data needs a number
_TIMEOUT = 10.0  # seconds


class Syslog:
    """Of one receiver. Entries arrive once or more, in order."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, name: str = "") -> None:
        self._host, self._port, self._context = host, port, context
        self._name = name or socket.gethostname() or "-"

    def take(self, batch: Batch) -> None:
        data = b"".join(b"%d %s" % (len(said), said) for said in map(self.message, batch.lines))
        try:
            with socket.create_connection((self._host, self._port), timeout=_TIMEOUT) as plain, \
                    self._context.wrap_socket(plain, server_hostname=self._host) as line:
                line.sendall(data)
                line.unwrap()  # ends TLS, and raises unless the other side ends it too: by then it has read everything
        except OSError as error:
            raise AdapterError(f"the receiver did not take a batch: {type(error).__name__}: {error}",
                               where=f"{self._host}:{self._port}", retryable=True) from error

    def message(self, line: Line) -> bytes:
        """An entry as a message of RFC 5424."""
        at = iso(line.time) if line.time else "-"
        data = f'[entry@{_ENTERPRISE} log="{_quoted(line.log)}" seq="{line.seq}" leaf="{line.leaf}"]'
        head = f"<{_PRIORITY}>1 {at} {self._name} flightworthy {os.getpid()} {line.kind[:32]} {data} \ufeff"
        return head.encode() + msgspec.json.encode(line)

    def close(self) -> None:
        """Every batch had its own connection."""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
