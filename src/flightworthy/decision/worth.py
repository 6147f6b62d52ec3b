"""What the decisions of a rollout were worth, once their outcomes are final: follows a ledger at the distance of the horizon.

A decision is taken in when the horizon of outcomes has passed since it, in event time; what is known of it then counts. So
nothing needs to be kept for decisions that wait, however many they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from flightworthy.decision.route import CHALLENGED, Draw
from flightworthy.decision.shadow import Shadow, Twin, eligible
from flightworthy.decision.valuation import exact_fields
from flightworthy.governance.ledger import DECISION, Entry, Ledger
from flightworthy.manifest.expressions.exact import Value
from flightworthy.objective.counterfactual import Moved
from flightworthy.objective.effect import Totals
from flightworthy.objective.value import Pricer

CHUNK, RANKED = 4096, 200_000
SAMPLED = 8  # of decisions with the label false, one in so many is ranked


@dataclass
class Slices:
    """Entities of a rollout, in order of appearance, with their decisions and what these were worth: as many of the champion's
    as of the challenger's, by the two ends of the draw."""

    challenger: Totals = field(default_factory=dict)
    champion: Totals = field(default_factory=dict)


class Worth:
    """Over one ledger. ``apart``: of each entity its decisions, and how much more they would have been worth with the challenger;
    ``moved``: the decisions for which that is not nothing, ``entities``: whose they are; ``slices``: what the arms themselves
    earned."""

    def __init__(self, shadow: Shadow, ledger: Ledger, salt: str, first: int) -> None:
        pilot, self._shadow, self._ledger, self._next = shadow.line.pilot, shadow, ledger, first
        outcomes = pilot.manifest.outcomes
        self._horizon = outcomes.horizon if outcomes.horizon is not None else outcomes.delay
        self._absent = None if outcomes.absent is None else float(outcomes.absent)
        self._boolean, self._by = outcomes.type == "boolean", pilot.assigned_by
        self._price, self._exact, self._draw = Pricer(pilot).price, exact_fields(pilot), Draw(salt)
        self._labels: dict[int, float] = {}
        self.apart, self.moved, self.slices = Totals(), Moved(), Slices()
        self.entities: set[str] = set()
        self.arms = {True: [0.0, 0.0], False: [0.0, 0.0]}  # challenged → decisions, and how much more with the challenger
        self.ranked: list[tuple[float, float, float]] = []  # scores of both and label, of a sample
        self._end = 2**63 - 1
        self._in_play = 1 - pilot.manifest.rollout.holdout

    def learn(self, decision: int, label: float) -> None:
        """An outcome, by the number of its decision; one that comes after the horizon does not count."""
        if decision >= self._next:
            self._labels[decision] = label

    def end(self, seq: int) -> None:
        """The rollout ended with this entry: later decisions are not its own."""
        self._end = seq

    def read(self, now: int) -> None:
        """Take in what is final at ``now`` (event time, microseconds). Raises `LedgerError`."""
        line, entries = self._shadow.line, self._ledger.scan(self._next, (DECISION,))
        while chunk := list(islice(entries, CHUNK)):
            records = line.records.read_all(chunk)
            times = line.columns.times([record.event for record in records]).tolist()
            young = next((i for i, time in enumerate(times) if time + self._horizon > now), len(chunk))
            for twin in self._shadow.ask([r for r in records[:young] if r.seq < self._end and eligible(r)]):
                self._add(twin)
            self._forget(chunk[:young])
            if young < len(chunk):
                return

    def _forget(self, done: list[Entry]) -> None:
        for entry in done:
            self._labels.pop(entry.seq, None)
            self._next = entry.seq + 1

    def _add(self, twin: Twin) -> None:
        record = twin.record
        label = self._labels.get(record.seq, self._absent)
        if label is None:
            return  # nothing was ever told of it
        entity = str(getattr(record.event, self._by))
        apart, span, mine = 0.0, 0.0, self._slice(entity, record.arm == CHALLENGED, record.propensity / self._in_play)
        if twin.moved or mine is not None:
            fields = self._exact(record.event)
            if twin.moved:
                apart = self._apart(twin, fields, label)
                span = self._apart(twin, fields, 1.0) - self._apart(twin, fields, 0.0) if self._boolean else 0.0
            if mine is not None:
                _count(mine, entity, float(self._price(fields, label, record.action, record.quantity)))
        if apart:
            self.entities.add(entity)
            self.moved.add(apart, label != 0 if self._boolean else None, span)
        arm = self.arms[record.arm == CHALLENGED]
        arm[0], arm[1] = arm[0] + 1, arm[1] + apart
        if self._boolean and len(self.ranked) < RANKED and (label or record.seq % SAMPLED == 0):
            self.ranked.append((*twin.scores, label))
        _count(self.apart, entity, apart)

    def _apart(self, twin: Twin, fields: dict[str, Value], label: float) -> float:
        """How much more it would be worth with the challenger."""
        return float(self._price(fields, label, *twin.challenger) - self._price(fields, label, *twin.champion))

    def _slice(self, entity: str, challenged: bool, drawn_with: float) -> Totals | None:
        """The totals an entity belongs to: while the challenger had a share of all that is not held out, the champion's slice
        is as large, and both are halves at most."""
        share, at = drawn_with if challenged else 1 - drawn_with, self._draw.of(entity)
        size = min(share, 1 - share)
        if challenged:
            return self.slices.challenger if at < size else None
        return self.slices.champion if at >= 1 - size else None


def pairs(slices: list[Slices]) -> Iterator[tuple[list[float], list[float]]]:
    """Of each shard, the first entity of either slice, then the second, and so on: [decisions, worth] of the challenger's and of
    the champion's."""
    for each in slices:
        yield from zip(each.challenger.values(), each.champion.values(), strict=False)


def _count(totals: Totals, entity: str, worth: Any) -> None:
    entry = totals.setdefault(entity, [0.0, 0.0])
    entry[0] += 1
    entry[1] += worth
