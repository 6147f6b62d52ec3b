"""The complete record of a decision, as it is stored: canonical JSON, members in this order."""

from __future__ import annotations

from typing import Any

import msgspec

from flightworthy.governance.reasons import Reason
from flightworthy.integration.contract import Contract

VERSION = 1


class OutcomeRecord(msgspec.Struct, frozen=True, gc=False):
    """An outcome as stored; ``decision`` is the entry it belongs to, times in microseconds."""

    v: int
    kind: str
    seq: int
    id: str
    decision: int
    label: float
    known_at: int
    arrived: int


def decision_type(contract: Contract) -> Any:
    """The record type of a pilot: its event, and everything that led from it to the action.

    features: values in the order of the pilot, null = unknown · arm and propensity: as drawn · model: digest of the one
    that answered · outputs: its answer · path: failed steps with reason, then who decided · rule: index in that
    policy · otherwise: what the baseline would have done · arrived, decided: microseconds UTC · clocks: microseconds
    spent waiting, on features and on the model, for the whole batch · pilot: digest of the manifest.
    """
    return msgspec.defstruct("DecisionRecord", [
        ("v", int), ("kind", str), ("seq", int), ("id", str), ("event", contract.event),
        ("features", list[float | None]), ("arm", str), ("propensity", float), ("model", str | None),
        ("outputs", list[float | None]), ("path", list[str]), ("rule", int), ("action", str),
        ("quantity", float | None), ("otherwise", str), ("reasons", list[Reason]), ("arrived", int), ("decided", int),
        ("clocks", list[int]), ("pilot", str)], frozen=True, gc=False)
