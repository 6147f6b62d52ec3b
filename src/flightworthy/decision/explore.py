"""Letting a few cases through that would go against someone, so that their truth becomes known: drawn, recorded, and within a
budget.

Where a declined case never tells its truth, what declining earns cannot be measured. A small share of these cases is let through
by a draw; each record says with which probability it could have been, so that those let through speak for the others (Horvitz and
Thompson 1952, "A generalization of sampling without replacement from a finite universe").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from decimal import Decimal
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.policy import Policy
from flightworthy.decision.route import Draw
from flightworthy.integration.batch import Frames
from flightworthy.manifest.pilot import ParsedRule, Pilot

Floats = NDArray[np.float64]
DAY, MILLION = 86_400_000_000, 1_000_000
PROGRESS = "explore:"  # with the number of a day, where the ledger keeps what was spent


class Chances(Protocol):
    """Says with which probability a case may be let through."""

    def of(self, row: int, cost: float, drawn: float) -> float:
        """``row`` of the batch; ``cost``: at most, in the currency; ``drawn``: it is let through where that is below the
        answer."""


class Recorded:
    """Probabilities as the records of a batch say."""

    def __init__(self, chances: Sequence[float]) -> None:
        self._chances = chances

    def of(self, row: int, cost: float, drawn: float) -> float:
        """As it was."""
        return self._chances[row]


class Budget:
    """What may still be spent on a day. A case has its chance if the day can still bear it, whether it is drawn or not, so
    that the chance of each depends on earlier ones alone."""

    def __init__(self, share: float, a_day: Decimal, parts: int = 1) -> None:
        self.share, self.parts, self._most = share, parts, int(a_day * MILLION) // parts
        self.day, self.spent = -1, 0  # millionths of the currency

    @classmethod
    def of_pilot(cls, pilot: Pilot, parts: int) -> Budget | None:
        """As a manifest says; each of several shards has its part. None where nothing is let through."""
        spec = pilot.manifest.rollout.explore
        return None if spec is None else cls(spec.share, spec.budget, parts)

    @property
    def key(self) -> str:
        """Where the ledger keeps what was spent on the day."""
        return f"{PROGRESS}{self.day}"

    def at(self, day: int, spent: int) -> None:
        """Go on from what was spent on a day."""
        self.day, self.spent = day, spent

    def of(self, row: int, cost: float, drawn: float) -> float:
        """The share, or nothing; what is let through is spent."""
        if not 0 <= cost <= 1e12:  # NaN too: what is not known is not risked
            return 0.0
        price = math.ceil(cost * MILLION)
        if self.spent + price > self._most:
            return 0.0
        self.spent += price if drawn < self.share else 0
        return self.share


class Explorer:
    """Finds the cases of a batch and draws by the ids of events."""

    def __init__(self, salt: str, rule: ParsedRule, adverse: Set[str], frames: Frames) -> None:
        self.action, self._adverse, self._draw = rule.action, adverse, Draw(f"{salt}/explore")
        never = ParsedRule(None, rule.action, None)
        rules = [rule] if rule.condition is None else [rule, never]
        self._policy = Policy(rules, [""] * len(rules), frames.index, frames.scratch)

    def cases(self, frame: Floats, ids: Sequence[str], actions: Sequence[str], modelled: Sequence[bool],
              chances: Chances) -> Iterator[tuple[int, float, bool]]:
        """Rows that may be let through, with their chance, and whether they are. ``modelled``: a model had an answer."""
        rows = [row for row, action in enumerate(actions) if action in self._adverse and modelled[row]]
        if not rows:
            return
        rules, costs = self._policy.decide(frame[rows])
        for row, rule, cost in zip(rows, rules.tolist(), costs.tolist(), strict=True):
            drawn = self._draw.of(ids[row])
            chance = chances.of(row, cost, drawn) if rule == 0 else 0.0
            yield row, chance, drawn < chance
