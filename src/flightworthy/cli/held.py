"""Commands about quarantine."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from flightworthy.cli.pilots import rooms, say
from flightworthy.decision.engine import Engine
from flightworthy.decision.held import discard as discard_held
from flightworthy.decision.held import retry as retry_held
from flightworthy.decision.rooms import Rooms
from flightworthy.ground.clock import iso
from flightworthy.ground.errors import DataError
from flightworthy.manifest.load import load


def listing(path: Path, var: Path | None, status: str, limit: int, after: int) -> None:
    """Counts, then records."""
    pilot = load(path)
    ledger = Rooms.of(pilot, rooms(pilot, var)).open_ledger(read_only=True)
    for (state, reason), count in ledger.quarantine_counts().items():
        say(f"{count:>8,}  {state:<10} {reason}")
    for q in ledger.quarantine(status, after, limit):
        say(f"{q.id:>8}  {iso(q.arrived)}  {q.source}:{q.position}  {q.reason}  {q.field}  {q.message[:100]}")
    ledger.close()


def show(path: Path, var: Path | None, record: int) -> None:
    """Everything known of one record."""
    pilot = load(path)
    ledger = Rooms.of(pilot, rooms(pilot, var)).open_ledger(read_only=True)
    found = [q for status in ("held", "admitted", "discarded", "erased") for q in ledger.quarantine(status, record - 1, 1)
             if q.id == record]
    vault = Rooms.of(pilot, rooms(pilot, var)).open_vault(pilot, ledger)
    ledger.close()
    if not found:
        raise DataError("no such record in quarantine", found=record, next_step="run: flightworthy quarantine list")
    q = found[0] if vault is None else replace(found[0], raw=vault.cover.off(found[0].raw))
    say(f"id {q.id}, {q.status}\nfrom {q.source}, position {q.position}, arrived {iso(q.arrived)}\n"
        f"reason {q.reason}{f' in {q.field}' if q.field else ''}: {q.message}\nraw ({len(q.raw)} bytes):")
    sys.stdout.write(q.raw.decode("utf-8", errors="backslashreplace") + "\n")


def discard(path: Path, var: Path | None, record: int) -> None:
    """Settle one record without deciding it."""
    pilot = load(path)
    ledger = Rooms.of(pilot, rooms(pilot, var)).open_ledger()
    discard_held(ledger, record)
    ledger.close()
    say(f"record {record} is discarded; flightworthy quarantine show {record} still shows it")


def retry(path: Path, var: Path | None, record: int | None, repaired: Path | None) -> None:
    """Print how many came through."""
    pilot = load(path)
    if repaired is not None and record is None:
        raise DataError("a repaired record replaces one in quarantine", next_step="give its id")
    try:
        instead = repaired.read_bytes().strip() if repaired else None
    except OSError as error:
        raise DataError(f"cannot read the repaired record: {error}", where=str(repaired)) from error
    engine = Engine.open(pilot, rooms(pilot, var))
    admitted, again = retry_held(engine, record, instead)
    engine.close()
    say(f"{admitted} admitted, {again} held again")
