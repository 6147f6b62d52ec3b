"""Entries written ahead: durable after one write and one flush, before the tables have them.

Two files beside the database, in turns: while the entries of one are moved into the tables, commits go to the other. A file whose
entries have moved is written from its beginning again, over what it held; so flushing never has to change its length.

A record: magic, length of the plain part, number of the first entry, their count, CRC-32 (24 bytes, big-endian), the SHA-256 of
each content (32 bytes each), then the plain part as in a segment (see segment.py). The CRC covers all but the contents, which
their digests cover. Only the last record of a file can be half written; one that is damaged and has others behind it is an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

from flightworthy.adapters.sqlite.segment import Segment, plain
from flightworthy.governance.ledger import Entries
from flightworthy.ground.errors import LedgerError

_HEADER, _CRC = struct.Struct(">4sIQI"), struct.Struct(">I")
_MAGIC, _START = b"fwA1", _HEADER.size + _CRC.size
_STEP = 1 << 20  # bytes by which a file grows: written once with zeros, so that flushing a record is flushing data only
_flush = getattr(os, "fdatasync", os.fsync)


class HeldError(LedgerError):
    """Another writer is at work."""


class Ahead:
    """The two files, held by one writer at a time."""

    def __init__(self, path: Path) -> None:
        """Raises `HeldError` while another writer holds them, `OSError` when they cannot be opened."""
        mode, self._files = path.stat().st_mode & 0o777, []
        try:
            for name in names(path):
                self._files.append(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))
            fcntl.flock(self._files[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise HeldError("another process writes this ledger", where=str(path), retryable=True,
                       next_step="stop it, or have it do this") from error
        except OSError:
            self.close()
            raise
        self._active = self._at = 0
        self._room = [os.fstat(file).st_size for file in self._files]

    def append(self, entries: Entries) -> None:
        """Durable when this returns. Raises `OSError`; then nothing was written, as far as the disk can be believed."""
        record, file = _record(entries), self._files[self._active]
        end = self._at + len(record)
        try:
            if end > self._room[self._active]:
                grown = (end // _STEP + 1) * _STEP
                _write(file, bytes(grown - self._room[self._active]), self._room[self._active])
                self._room[self._active] = grown
            _write(file, record, self._at)
            _flush(file)
        except OSError:
            with contextlib.suppress(OSError):  # whole or not, it must not be found again: its writer hears that it is not there
                _write(file, bytes(_START), self._at)
                _flush(file)
            raise
        self._at = end

    def turn(self) -> None:
        """From here on into the other file, over what it held."""
        self._active, self._at = 1 - self._active, 0

    def clear(self) -> None:
        """Forget everything: the tables have it."""
        for i, file in enumerate(self._files):
            os.ftruncate(file, 0)
            self._room[i] = 0
        self._at = 0

    def close(self) -> None:
        """Let go of the files; what they hold stays."""
        for file in self._files:
            os.close(file)
        self._files = []


def names(path: Path) -> list[Path]:
    """The files that belong to a database."""
    return [path.with_name(f"{path.name}-ahead-{i}") for i in range(2)]


def left(path: Path, last: Callable[[], int]) -> list[Entries]:
    """What the files hold behind the ``last`` entry of the tables, in order. Raises `LedgerError` when something is damaged or
    missing; beside a writer that goes on that may pass: another look then finds it elsewhere."""
    held: dict[str, bytes] = {}
    for name in names(path):
        with contextlib.suppress(FileNotFoundError):
            held[str(name)] = name.read_bytes()
    end = last()  # after the files: what left them meanwhile is in the tables
    found = [entries for where, data in held.items() for entries in _records(data, end, where)]
    for entries in sorted(found, key=lambda entries: entries.first):
        if entries.first != end + 1:
            raise LedgerError("the ledger was altered or the disk is failing: entries are missing", where=str(path),
                              found=entries.first, expected=f"{end + 1}", next_step="restore from a backup and compare")
        end += len(entries)
    return sorted(found, key=lambda entries: entries.first)


def _record(entries: Entries) -> bytes:
    text, index = plain(entries)
    digests = b"".join(entries.digests)
    header = _HEADER.pack(_MAGIC, len(text), entries.first, len(entries))
    return b"".join([header, _CRC.pack(_sum(header, digests, text[:index])), digests, text])


def _sum(header: bytes, digests: bytes, index: bytes) -> int:
    return crc32(index, crc32(digests, crc32(header)))


def _records(data: bytes, last: int, where: str) -> Iterator[Entries]:
    """The records behind entry ``last`` that follow one another from the beginning."""
    at, end = 0, 0
    while (read := _read(data, at)) is not None and (not end or read[0].first == end + 1):
        entries, at = read
        end = entries.first + len(entries) - 1
        if end > last:
            yield entries
    # What lies behind was there before: entries that have moved, and perhaps half of one that never was whole.
    while (at := data.find(_MAGIC, at)) >= 0:
        read = _read(data, at)
        if read is not None and read[0].first > max(end, last):
            raise LedgerError("the ledger was altered or the disk is failing: a record is damaged, and one behind it is whole",
                              where=f"{where}, before byte {at}", found=f"entry {read[0].first}",
                              expected=f"entry {max(end, last) + 1}", next_step="restore from a backup and compare")
        at += 1


def _read(data: bytes, at: int) -> tuple[Entries, int] | None:
    """The record at a place, and where it ends; None where there is no whole one."""
    if at + _START > len(data):
        return None
    header = data[at : at + _HEADER.size]
    magic, size, first, count = _HEADER.unpack(header)
    start, middle = at + _START, at + _START + 32 * count
    digests, text = data[start:middle], data[middle : middle + size]
    if magic != _MAGIC or len(text) < size or size < 4:
        return None
    index = 4 + int.from_bytes(text[:4], "big")
    if _CRC.unpack_from(data, at + _HEADER.size)[0] != _sum(header, digests, text[:index]):
        return None
    try:
        return Entries.of(list(Segment(first, count, text, digests).entries(first, set()))), middle + size
    except LedgerError:  # contents that did not reach the disk
        return None


def _write(file: int, data: bytes, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, memoryview(data)[done:], at + done)
