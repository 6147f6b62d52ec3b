"""Backfill on this machine: files of the past in, one file of features out, in bounded memory."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from flightworthy.decision.backfill import Backfilled, compute, put_all, tell_all
from flightworthy.decision.line import Line
from flightworthy.ground import registry
from flightworthy.ground.errors import DataError
from flightworthy.integration.archive import Archive
from flightworthy.integration.contract import Raw, Rejection
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.learn import open_source

Watch = Callable[[int], None]


def backfill(pilot: Pilot, data: Sequence[str], outcomes: Path | None, to: Path, memory: int, watch: Watch) -> Backfilled:
    """Features of every event of the files, taken in this order, as training would compute them. ``memory``: bytes for sorting;
    the features' own state comes to it. Raises `DataError`, `AdapterError`; then ``to`` is what it was."""
    line, made = Line(pilot, {}), Backfilled()
    sources = [open_source(url, pilot) for url in data]
    open_archive = registry.find("archives", "file:")
    archive: Archive = open_archive(f"file://{to.absolute()}", memory=memory)
    try:
        with refusals(refused_beside(to)) as refuse:
            for source in sources:
                put_all(line, archive, source.chunks(), refuse, made)
            if outcomes is not None:
                tell_all(line, archive, _lines(outcomes), refuse, made)
        compute(line, archive, made, watch)
        if not made.events:
            raise DataError("no event of the history fits the contract", found=made.refused,
                            next_step=f"look at {refused_beside(to)}")
        archive.finish()
    finally:
        archive.close()
    return made


def refused_beside(to: Path) -> Path:
    """Where records are kept that do not fit."""
    return to.with_name(f"{to.name}.refused.ndjson")


@contextmanager
def refusals(path: Path) -> Iterator[Callable[[Raw, Rejection], None]]:
    """Keeps refused records with their reasons, one a line; no file where none is."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        def refuse(raw: Raw, rejection: Rejection) -> None:
            file.write(refusal(raw, rejection) + b"\n")

        yield refuse
        some = file.tell()
    if not some:
        path.unlink()


def refusal(raw: Raw, rejection: Rejection) -> bytes:
    """A refused record as it is kept: a line of JSON."""
    return msgspec.json.encode({"reason": rejection.reason, "field": rejection.field, "message": rejection.message,
                                "raw": _shown(raw)})


def _shown(raw: Raw) -> object:
    if not isinstance(raw, bytes):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _lines(path: Path) -> Iterable[Raw]:
    try:
        with path.open("rb") as file:
            yield from (text for line in file if (text := line.strip()))
    except OSError as error:
        raise DataError(f"cannot read the outcomes: {error}", where=str(path)) from error
