"""Exports of a ledger: to folders that prove themselves, and to receivers that are told what is new."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from flightworthy.governance.export import Batch, Head, Line, Receiver, batches, check, head
from flightworthy.governance.ledger import Ledger
from flightworthy.governance.log.policy import Policy
from flightworthy.ground.errors import AdapterError, DataError, ProofError
from flightworthy.ground.registry import missing_extra

_log = logging.getLogger("flightworthy.export")
HEAD, LINES, TABLE = "head.json", "entries.ndjson", "entries.parquet"
_TRIES = 8
_PAUSES = (0.2, 0.5, 1, 2, 5, 10, 20)  # seconds between tries
Watch = Callable[[int], None]


def to_folder(ledger: Ledger, folder: Path, first: int, form: str, watch: Watch = lambda done: None) -> int:
    """Entries from a number on to the newest checkpoint, and what proves them; their number. Raises `DataError` when the folder
    is not empty, `ProofError` when nothing is published."""
    if form not in ("ndjson", "parquet"):
        raise DataError("no such form", found=form, expected="ndjson or parquet")
    if folder.exists() and any(folder.iterdir()):
        raise DataError("the folder is not empty", where=str(folder), next_step="choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    found: Head | None = None
    with (folder / LINES).open("wb") as file:
        for batch in batches(ledger, first):
            found = found or head(ledger, first, batch)
            file.writelines(msgspec.json.encode(line) + b"\n" for line in batch.lines)
            watch(batch.lines[-1].seq)
        file.flush()
        os.fsync(file.fileno())
    if found is None:
        raise ProofError("there are no such entries under a checkpoint", found=first)
    if form == "parquet":
        _to_table(folder)
    (folder / HEAD).write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return found.last - found.first + 1


def _to_table(folder: Path) -> None:
    try:
        import duckdb
    except ImportError:
        raise missing_extra("duckdb", "files", str(folder)) from None
    columns = {"log": "VARCHAR", "seq": "BIGINT", "kind": "VARCHAR", "id": "VARCHAR", "time": "BIGINT", "leaf": "VARCHAR",
               "stored": "VARCHAR", "record": "JSON"}
    with duckdb.connect() as db:
        db.read_json(str(folder / LINES), format="newline_delimited", columns=columns,
                     maximum_object_size=1 << 24).order("seq").write_parquet(str(folder / TABLE), compression="zstd")
    (folder / LINES).unlink()


def check_folder(folder: Path, policy: Policy, watch: Watch = lambda done: None) -> tuple[Head, int]:
    """Whether an export is what a log has that the policy trusts: every entry from its first to its last. Raises `ProofError`."""
    try:
        found = msgspec.json.decode((folder / HEAD).read_bytes(), type=Head)
        return found, check(found, _lines(folder), policy, watch)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise ProofError(f"this is no export: {error}", where=str(folder)) from error


def _lines(folder: Path) -> Iterator[Line]:
    if (folder / LINES).exists():
        read = msgspec.json.Decoder(Line).decode
        with (folder / LINES).open("rb") as file:
            yield from map(read, file)
        return
    import duckdb

    with duckdb.connect() as db:
        rows = db.execute("SELECT log, seq, kind, id, time, leaf, stored, NULL FROM read_parquet(?) ORDER BY seq",
                          [str(folder / TABLE)])
        while page := rows.fetchmany(4096):
            yield from (Line(*row) for row in page)


class Position:
    """How far a receiver has come, in a small file that is replaced whole."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self) -> int:
        """The last entry it has for good; 0 before the first. Raises `DataError`."""
        try:
            return int(self._file.read_text())
        except FileNotFoundError:
            return 0
        except ValueError as error:
            raise DataError("this is no position of an export", where=str(self._file),
                            next_step="delete it: everything is sent once more") from error

    def put(self, seq: int) -> None:
        """Durable when it returns."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(f".{os.getpid()}")
        with beside.open("w") as file:
            file.write(str(seq))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._file)


def to_receiver(ledger: Ledger, receiver: Receiver, position: Position, watch: Watch = lambda done: None,
                pause: Callable[[float], None] = time.sleep) -> int:
    """Send what is published and the receiver does not have; its number. What breaks is tried again for about half a minute; a
    batch that was not acknowledged is sent again whole. Raises `AdapterError` when it still does not go through: the next call
    goes on there."""
    sent = 0
    for batch in batches(ledger, position.get() + 1):
        _take(receiver, batch, pause)
        position.put(batch.lines[-1].seq)
        sent += len(batch.lines)
        watch(batch.lines[-1].seq)
    return sent


def _take(receiver: Receiver, batch: Batch, pause: Callable[[float], None]) -> None:
    for again in range(_TRIES):
        try:
            receiver.take(batch)
        except AdapterError as error:
            if not error.retryable or again == _TRIES - 1:
                raise
            _log.warning("an export waits: %s", error)
            pause(_PAUSES[again])
        else:
            return
