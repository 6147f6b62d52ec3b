"""What callers get: decisions, outcomes and problems as JSON."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from flightworthy.governance.ledger import DECISION, HISTORY
from flightworthy.governance.reasons import Reason
from flightworthy.ground.clock import iso
from flightworthy.integration.contract import Rejection

encode = msgspec.json.Encoder().encode
_hex = lru_cache(64)(bytes.hex)
_said = lru_cache(64)(iso)  # a batch is decided at one instant
URN = "urn:flightworthy:problem:"
_STATUS = {"id_conflict": 409, "in_history": 409, "no_decision": 409, "too_large": 413}


class Answer(msgspec.Struct, gc=False):
    """A decision as its caller sees it. ``decision`` is its number in the ledger, where all the rest is (None while the ledger
    is down and it waits beside it); ``durable``: whether it was on disk before it was told."""

    id: str
    decision: int | None
    action: str
    quantity: float | None
    outputs: dict[str, float | None]
    reasons: tuple[Reason, ...]
    by: str
    path: list[str]
    model: str | None
    pilot: str
    decided: str
    durable: bool = True


class Noted(msgspec.Struct, gc=False):
    """An outcome as its sender sees it."""

    id: str
    entry: int
    decision: int


class Problem(msgspec.Struct, gc=False, omit_defaults=True):
    """RFC 9457 problem details; ``field`` is where in the record, ``next`` what to do, ``retry`` whether the same request
    may succeed later."""

    type: str
    title: str
    status: int
    detail: str = ""
    field: str = ""
    next: str = ""
    retry: bool = False


def problem(status: int, kind: str, title: str, detail: str = "", field: str = "", next_step: str = "",
            retry: bool = False) -> Problem:
    """A problem of a kind."""
    return Problem(URN + kind, title, status, detail, field, next_step, retry)


def rejected(rejection: Rejection) -> Problem:
    """The problem of a record that went to quarantine."""
    status = _STATUS.get(rejection.reason, 422)
    return problem(status, rejection.reason, "the record was not accepted; it is in quarantine", rejection.message,
                   rejection.field, "mend the record and send it again")


def answer(result: Any, outputs: tuple[str, ...], durable: bool = True) -> Answer | Noted | Problem:
    """The answer to one record."""
    if isinstance(result, Rejection):
        return rejected(result)
    if result.kind == DECISION:
        # JSON has no NaN, which says that the model gave nothing: the encoder writes null.
        given = result.outputs
        named = {outputs[0]: given[0]} if len(given) == 1 else dict(zip(outputs, given, strict=True))
        return Answer(result.id, result.seq, result.action, result.quantity, named,
                      result.reasons, result.by, result.path, result.model and _hex(result.model), _hex(result.pilot),
                      _said(result.decided), durable)
    if result.kind == HISTORY:
        return Noted(result.id, result.seq, result.seq)
    return Noted(result.id, result.seq, result.decision)
