"""The value formula: what one decision was worth, exactly, once its outcome is known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from flightworthy.ground.money import settle
from flightworthy.manifest.expressions import evaluate
from flightworthy.manifest.expressions.exact import Value
from flightworthy.manifest.pilot import Pilot

ZERO = Decimal(0)


class Pricer:
    """Prices decisions of one pilot."""

    def __init__(self, pilot: Pilot) -> None:
        self._prices = pilot.prices
        self._label = pilot.manifest.outcomes.label
        self._boolean = pilot.manifest.outcomes.type == "boolean"
        self._currency = pilot.manifest.objective.currency

    def price(self, fields: Mapping[str, Value], label: float, action: str, quantity: float | None) -> Decimal:
        """Worth of a decision in the manifest's currency, rounded half-even to its minor unit.

        ``fields``: the event, numbers as exact `Decimal`. The first line of the formula that holds prices it, else 0.
        """
        values: dict[str, Value] = {
            **fields, self._label: label != 0 if self._boolean else Decimal(repr(label)), "action": action,
            "quantity": None if quantity is None else Decimal(repr(quantity))}
        for line in self._prices:
            if evaluate(line.when, values) is True:
                worth = evaluate(line.worth, values)
                return settle(worth, self._currency) if isinstance(worth, Decimal) else ZERO
        return ZERO
