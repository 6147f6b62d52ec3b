"""The log of the service: one JSON object a line on the error stream. No record, key, token or answer is ever logged."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar

import msgspec

from flightworthy.ground.clock import SystemClock, iso

trace: ContextVar[str] = ContextVar("trace", default="")  # of the request under way: its W3C trace id


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {"at": iso(SystemClock().now()), "level": record.levelname.lower(), "logger": record.name,
                "process": record.process, "message": record.getMessage()}
        if trace.get():
            said["trace"] = trace.get()
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(said).decode()


def to_stderr() -> None:
    """Write what this program logs to the error stream, as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger("flightworthy")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.INFO)
