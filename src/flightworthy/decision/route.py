"""Who is decided by what: a salted, deterministic assignment, the same after every restart, on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from flightworthy.decision.course import Course

TREATED, HOLDOUT, CHALLENGED = "treated", "holdout", "challenged"
_REMEMBERED = 1 << 18


class Draw:
    """A number for each entity, by a salt."""

    def __init__(self, salt: str) -> None:
        self._salt = blake2b(salt.encode(), digest_size=16).digest()

    def of(self, entity: str) -> float:
        """In [0, 1), uniform over entities, fixed for an entity and a salt.

        >>> 0 <= Draw("a").of("card-1") < 1
        True
        """
        mixed = blake2b(entity.encode(), digest_size=8, key=self._salt).digest()
        return (int.from_bytes(mixed, "big") >> 11) / (1 << 53)


def rollout_salt(salt: str, number: int) -> str:
    """What a rollout draws with."""
    return f"{salt}/rollout {number}"


class Router:
    """Assigns an entity as a whole: to the holdout (control group), to the challenger of the rollout, or to the champion.

    Each rollout draws anew among those who are not held out, so that no customer gets every challenger. Who is below the share
    is in, so a growing share lets nobody out."""

    def __init__(self, salt: str, holdout: float) -> None:
        self.salt, self.holdout = salt, holdout
        self._held_out = Draw(salt)
        self._known: dict[str | int, str] = {}
        self.follow(Course())

    def follow(self, course: Course) -> None:
        """From here on assign as a rollout says."""
        self.course = course
        self._challenged = Draw(rollout_salt(self.salt, course.number))
        self._known.clear()

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
        name = str(entity)
        if self._held_out.of(name) < self.holdout:
            return HOLDOUT
        return CHALLENGED if self.course.share and self._challenged.of(name) < self.course.share else TREATED

    def propensity(self, arm: str) -> float:
        """Probability with which an arm is drawn."""
        if arm == HOLDOUT:
            return self.holdout
        return (1.0 - self.holdout) * (self.course.share if arm == CHALLENGED else 1.0 - self.course.share)
