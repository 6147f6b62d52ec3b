"""Retrying what is in quarantine."""

from __future__ import annotations

from typing import Any

import msgspec

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import EVENT, OUTCOME, PAST, Arrivals
from flightworthy.governance.ledger import Block, Ledger, Quarantined
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.errors import DataError
from flightworthy.integration.contract import Raw, Rejection

AT_ONCE = 500


def retry(engine: Engine, record: int | None = None, repaired: bytes | None = None) -> tuple[int, int]:
    """Send held records (all, or one) through the engine again; ``repaired`` bytes replace that one's.

    What comes through is marked admitted; what fails again stays held as it was (no second row). Returns how many of
    each. Raises `DataError` when there is no such held record.
    """
    admitted = again = after = 0
    if record is not None:
        after = record - 1
    while True:
        batch = engine.ledger.quarantine("held", after, 1 if record is not None else AT_ONCE)
        if record is not None and [q.id for q in batch] != [record]:
            raise DataError("no such record is held", found=record, next_step="run: flightworthy quarantine list")
        if not batch:
            return admitted, again
        after = batch[-1].id
        through = _again(engine, batch, repaired)
        admitted += len(through)
        again += len(batch) - len(through)
        if record is not None:
            return admitted, again


def discard(ledger: Ledger, record: int) -> None:
    """Mark a held record as never to be decided; its bytes and its reason are kept. Raises `DataError` when there is no
    such held record."""
    if [q.id for q in ledger.quarantine("held", record - 1, 1)] != [record]:
        raise DataError("no such record is held", found=record, next_step="run: flightworthy quarantine list")
    ledger.commit(Block(settled=[(record, "discarded")]))


def _again(engine: Engine, batch: list[Quarantined], repaired: bytes | None) -> list[int]:
    through: list[int] = []
    for past in (True, False):  # each in its own way
        held = [q for q in batch if (q.kind == PAST) == past]
        if held:
            through += _send(engine, held, repaired, past)
    return through


def _send(engine: Engine, held: list[Quarantined], repaired: bytes | None, past: bool) -> list[int]:
    raws = [repaired if repaired is not None else raw_of(q, engine.vault) for q in held]
    kinds = [OUTCOME if q.kind == OUTCOME else EVENT for q in held]
    try:
        work = engine.prepare(Arrivals(raws, engine.clock.now(), kinds, "retry", past=past))
        engine.score(work)
        engine.finish(work)
        conflicts = {q.position for q in work.quarantined}
        through = [q.id for i, (q, result) in enumerate(zip(held, work.results, strict=True))
                   if not isinstance(result, Rejection) and i not in conflicts]
        work.quarantined = []  # they are held already
        engine.commit(work, settled=[(i, "admitted") for i in through])
    except BaseException:
        engine.recover()
        raise
    return through


def raw_of(held: Quarantined, vault: Vault | None) -> Raw:
    """The record as it came."""
    raw = held.raw if vault is None else vault.cover.off(held.raw)
    if not held.table:
        return raw
    row: dict[str, Any] = msgspec.json.decode(raw)
    return row
