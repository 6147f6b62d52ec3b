"""A file to which messages are appended, one JSON line each."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flightworthy.ground.errors import AdapterError
from flightworthy.integration.streams import Message


class FileSink:
    """A message without headers is its value, which is a line of JSON; one with headers is an object of headers and value, the
    latter in base64 where it is no text."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        except OSError as error:
            raise AdapterError(f"cannot write: {error}", where=str(path)) from error
        self._path = path

    def send(self, messages: Sequence[Message], partition: int = 0) -> None:
        try:
            self._file.writelines(_line(message) for message in messages)
        except OSError as error:
            raise AdapterError(f"cannot write: {error}", where=str(self._path), retryable=True) from error

    def settle(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise AdapterError(f"cannot write: {error}", where=str(self._path), retryable=True) from error

    def close(self) -> None:
        self.settle()
        self._file.close()


def _line(message: Message) -> bytes:
    if not message.headers:
        return message.value + b"\n"
    told: dict[str, Any] = {"headers": {name: value.decode(errors="replace") for name, value in message.headers}}
    try:
        told["value"] = message.value.decode()
    except UnicodeDecodeError:
        told["base64"] = base64.b64encode(message.value).decode()
    return json.dumps(told).encode() + b"\n"
