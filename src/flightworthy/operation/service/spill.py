"""Decisions made while the ledger is out of reach: a file beside it, flushed to the disk before anyone is answered, and taken
into the ledger as soon as that answers again.

One JSON object a line. The last line may be torn by a crash: nobody was answered then, and it is left out.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from flightworthy.governance.privacy.vault import Cover
from flightworthy.operation.service.errands import SpilledRecord

_log = logging.getLogger("flightworthy.service")
_read = msgspec.json.Decoder(SpilledRecord).decode
_write = msgspec.json.Encoder().encode


class Spill:
    """The file and what is in it. Calls come from the event loop; writing happens beside it."""

    def __init__(self, path: Path, cover: Cover | None = None) -> None:
        """``cover``: records are unreadable in the file without its key."""
        self.path, self._cover = path, cover
        self.held: dict[str, SpilledRecord] = {}  # event id → its decision, until the ledger has it
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._due: list[tuple[SpilledRecord, Callable[[bool], None]]] = []
        self._writing = False
        self._recover()

    def _recover(self) -> None:
        whole = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            try:
                record = self._uncovered(_read(line)) if line.endswith(b"\n") else None
            except msgspec.MsgspecError:
                record = None
            if record is None:
                _log.warning("the end of %s was torn by a crash before anyone was answered; it is left out", self.path.name)
                break
            whole += len(line)
            self.held[record.id] = record
        os.ftruncate(self._file, whole)

    def add(self, record: SpilledRecord, done: Callable[[bool], None]) -> None:
        """Write a decision; ``done(True)`` once it is on the disk, ``done(False)`` when it could not be written."""
        self._due.append((record, done))
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._due:
                due, self._due = self._due, []
                data = b"".join(_write(self._covered(record)) + b"\n" for record, _ in due)
                try:
                    await asyncio.get_running_loop().run_in_executor(None, self._append, data)
                    written = True
                except OSError as error:
                    _log.error("decisions cannot be spilled: %s", error)
                    written = False
                for record, done in due:
                    if written:  # from here on a repetition gets the same answer
                        self.held[record.id] = record
                    done(written)
        finally:
            self._writing = False

    def _append(self, data: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) != len(data):
                raise OSError("the disk is full")
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _covered(self, record: SpilledRecord) -> SpilledRecord:
        return record if self._cover is None else replace(record, raw=self._cover.put(record.raw))

    def _uncovered(self, record: SpilledRecord) -> SpilledRecord:
        return record if self._cover is None else replace(record, raw=self._cover.off(record.raw))

    def taken(self, records: list[SpilledRecord]) -> None:
        """The ledger has these. Once it has all, the file is emptied."""
        for record in records:
            self.held.pop(record.id, None)
        if not self.held and not self._due and not self._writing:
            os.ftruncate(self._file, 0)
            os.fdatasync(self._file)

    def close(self) -> None:
        """Release the file; what is in it is taken in at the next start."""
        os.close(self._file)
