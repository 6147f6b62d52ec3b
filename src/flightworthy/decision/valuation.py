"""Decisions joined to their outcomes and priced: what is realised, what it earned, what is still unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flightworthy.decision.line import Line
from flightworthy.decision.record import ANSWERED
from flightworthy.governance.ledger import ACT, DECISION, OUTCOME, Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.manifest.expressions.exact import Value
from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import FieldSpec
from flightworthy.objective.value import Pricer

KNOWN, FINAL, PENDING, HIDDEN = "known", "final by absence", "pending", "hidden by the action"


@dataclass(frozen=True)
class Judged:
    """A decision with what is known of its truth. ``label`` is None while pending, and where the action hid it; money is exact.
    ``speaks``: of one that was let through, how many hidden ones it speaks for, each worth ``meant`` (the baseline's action:
    ``meant_otherwise``); ``explored``: of a hidden one, whether others speak for it."""

    record: Any
    time: int
    status: str
    label: float | None
    value: Decimal
    otherwise: Decimal
    bounds: tuple[Decimal, Decimal]
    speaks: float = 0.0
    meant: Decimal = Decimal(0)
    explored: bool = False


def judge(pilot: Pilot, ledger: Ledger, now: int, vault: Vault | None = None) -> Iterator[Judged]:
    """Every decision, in order, with the outcome known at ``now`` (event time, microseconds): the latest correction
    counts; where the manifest says what absence means, a decision older than the horizon is final without one, and
    younger ones are pending even when their outcome is known: outcomes of one kind are reported early, and counting
    them alone would bend every figure. Where a caller was told another action than the ledger's, because it was out of
    reach, what was told is what was done, and is priced."""
    line, price = Line(pilot, {}, vault), Pricer(pilot).price
    outcomes = pilot.manifest.outcomes
    truths, told = Truths(line, ledger, now), _told(line, ledger)
    exact = exact_fields(pilot)
    read = line.records.read
    for entry in ledger.scan(1, (DECISION,)):
        record = read(entry)
        fields = exact(record.event)
        time = int(line.columns.times([record.event])[0])
        label, status = truths.of(record.seq, time)
        action, quantity = told.get(record.seq, (record.action, record.quantity))
        hidden = action in outcomes.hidden_by and truths.final(time)  # also where it was told: then others speak for it, too
        if label is not None and not hidden:
            value = price(fields, label, action, quantity)
            other = price(fields, label, record.otherwise, record.otherwise_quantity)
            meant, speaks = line.meant(record), 0.0
            if outcomes.hidden_by and line.explored(record) and action != meant[0]:
                speaks = 1 / record.explore - 1
            yield Judged(record, time, status, label, value, other, (value, value), speaks,
                         price(fields, label, *meant) if speaks else Decimal(0))
            continue
        both = [price(fields, x, action, quantity) for x in (0.0, 1.0)] \
            if outcomes.type == "boolean" else [Decimal(0)]
        yield Judged(record, time, HIDDEN if hidden else PENDING, None, Decimal(0), Decimal(0), (min(both), max(both)),
                     explored=hidden and line.explored(record))


class Truths:
    """What was known of decisions at an instant (event time, microseconds)."""

    def __init__(self, line: Line, ledger: Ledger, now: int) -> None:
        outcomes = line.pilot.manifest.outcomes
        self._now = now
        self._horizon = outcomes.horizon if outcomes.horizon is not None else outcomes.delay
        self._absent = None if outcomes.absent is None else float(outcomes.absent)
        self._labels: dict[int, float] = {}
        for entry in ledger.scan(1, (OUTCOME,)):
            outcome = line.records.read(entry)
            if outcome.known_at <= now:
                self._labels[outcome.decision] = outcome.label

    def final(self, time: int) -> bool:
        """Whether an event of that time can be told nothing more."""
        return time + self._horizon <= self._now

    def of(self, seq: int, time: int) -> tuple[float | None, str]:
        """The label of a decision (None: not yet), and how it is known. ``time``: of its event, microseconds."""
        label, mature = self._labels.get(seq), self.final(time)
        if self._absent is None:
            return label, KNOWN
        if not mature:
            return None, KNOWN
        return (label, KNOWN) if label is not None else (self._absent, FINAL)


def _told(line: Line, ledger: Ledger) -> dict[int, tuple[str, float | None]]:
    """Action and quantity of decisions whose callers were told something else."""
    acts = [line.records.read(entry) for entry in ledger.scan(1, (ACT,)) if entry.key.startswith(f"{ANSWERED}:")]
    return {int(act.said["entry"]): (act.said["action"], float(act.said["quantity"]) if act.said["quantity"] else None)
            for act in acts if act.said["entry"]}


def exact_fields(pilot: Pilot) -> Callable[[Any], dict[str, Value]]:
    """The fields of an event as the value formula reads them: numbers as exact `Decimal`."""
    spec = {name: s for name, s in pilot.manifest.events.fields.items() if s.type != "text"}
    return lambda event: {name: _exact(getattr(event, name), s) for name, s in spec.items()}


def _exact(value: Any, spec: FieldSpec) -> Value:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if spec.type == "decimal":
        return Decimal(repr(value)).quantize(Decimal(1).scaleb(-(2 if spec.scale is None else spec.scale)))
    return Decimal(repr(value))
