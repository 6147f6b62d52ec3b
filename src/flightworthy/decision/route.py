"""Who is decided by what: a salted, deterministic assignment, the same after every restart, on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

TREATED, HOLDOUT = "treated", "holdout"
_REMEMBERED = 1 << 18


class Router:
    """Assigns an entity as a whole to the holdout (control group) or to the treated."""

    def __init__(self, salt: str, holdout: float) -> None:
        self._salt = blake2b(salt.encode(), digest_size=16).digest()
        self.holdout = holdout
        self._known: dict[str | int, str] = {}

    def draw(self, entity: str) -> float:
        """A number in [0, 1), uniform over entities, fixed for an entity and a salt.

        >>> 0 <= Router("a", 0.1).draw("card-1") < 1
        True
        """
        mixed = blake2b(entity.encode(), digest_size=8, key=self._salt).digest()
        return (int.from_bytes(mixed, "big") >> 11) / (1 << 53)

    def arms(self, entities: Sequence[str | int]) -> list[str]:
        """The arm of each entity."""
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        for entity in entities:  # not a difference of sets: that would walk all that is known
            if entity not in known:
                known[entity] = self.arm(entity)
        return list(map(known.__getitem__, entities))

    def arm(self, entity: str | int) -> str:
        """The arm of an entity."""
        return HOLDOUT if self.draw(str(entity)) < self.holdout else TREATED

    def propensity(self, arm: str) -> float:
        """Probability with which an arm is drawn."""
        return self.holdout if arm == HOLDOUT else 1.0 - self.holdout
