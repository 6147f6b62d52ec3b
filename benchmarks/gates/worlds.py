"""Simulated traffic of a rollout: two arms alike, or one worse by a known amount."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from flightworthy.objective.evidence import Floats

Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def normal(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Values with light tails; mean 1."""
    return rng.normal(1, 1, size)


def lognormal(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Values with heavy tails; mean 1, deviation 2.9."""
    return np.exp(rng.normal(-1.125, 1.5, size))


def pareto(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Values whose variance is infinite; mean 1."""
    return 0.5 * rng.pareto(1.5, size)


def losses(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """A small gain from nearly every decision, a large loss from one in 200; mean 1, deviation 17."""
    return _losses(rng, size, 0.005, 4.6)


def smaller_losses(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Losses twice as often and half as large: the same mean, another distribution."""
    return _losses(rng, size, 0.01, 4.6 - np.log(2))


def _losses(rng: np.random.Generator, size: tuple[int, ...], often: float, log_size: float) -> Floats:
    lost = np.exp(rng.normal(log_size, 1, size))
    return 1 + often * np.exp(log_size + 0.5) - np.where(rng.random(size) < often, lost, 0)


@dataclass(frozen=True)
class World:
    """What traffic is like. Values are money a decision; ``other``: the challenger's, where they are not the champion's;
    ``unit``: how much units differ (deviation); ``rate``: of errors; ``share``: the challenger's, of the decisions counted for
    errors; ``delay``: looks until what a decision was worth is known."""

    name: str
    draw: Draw
    margin: float
    other: Draw | None = None
    unit: float = 0.0
    seasons: bool = False
    rate: float = 0.01
    share: float = 0.5
    delay: int = 0


WORLDS = (
    World("light tails", normal, 0.2),
    World("heavy tails", lognormal, 0.4, rate=0.001),
    World("infinite variance", pareto, 0.4, share=0.1),
    World("rare large losses", losses, 1.0, rate=0.001, share=0.1),
    World("seasons", lognormal, 0.4, seasons=True, share=0.05),
    World("correlated units", normal, 0.4, unit=1.0),
    World("late labels", losses, 1.0, unit=0.5, seasons=True, delay=14),
    World("same mean, other tails", losses, 1.0, other=smaller_losses),
)


@dataclass
class Seen:
    """What is known at a look, of many rollouts: totals (rollouts, pairs, 2), challenger first, and errors (rollouts, 1)."""

    value: Floats
    count: Floats
    inside: Floats
    errors: Floats
    exposed: Floats  # (2,): decisions counted for errors


def looks(world: World, rng: np.random.Generator, rollouts: int, pairs: int, number: int, worse: float = 0.0) -> Iterator[Seen]:
    """One day after the other; units come in day by day and stay. ``worse``: money a decision of the challenger loses."""
    value, count = np.zeros((rollouts, pairs, 2)), np.zeros((rollouts, pairs, 2))
    units = world.unit * rng.normal(size=(rollouts, pairs, 2))
    errors, inside, exposed = np.zeros((rollouts, 1)), np.zeros((rollouts, 1)), np.zeros(2)
    late: list[tuple[Floats, Floats]] = []
    for day in range(number):
        here = pairs * (day + 1) // number
        wave = np.sin(2 * np.pi * day / 7) if world.seasons else 0.0
        made = (rng.random((rollouts, here, 2)) < 0.5 + 0.3 * wave).astype(float)
        worth = world.draw(rng, (rollouts, here, 2))
        if world.other is not None:
            worth[..., 0] = world.other(rng, (rollouts, here))
        worth += units[:, :here] + 0.5 * wave - worse * np.array([1.0, 0.0])
        late.append((worth * made, made))
        if len(late) > world.delay:
            known, of = late.pop(0)
            value[:, : known.shape[1]] += known
            count[:, : known.shape[1]] += of
        batch = 2000 * (1 + 0.5 * wave)
        happened = rng.poisson(batch * world.rate * (1 + 0.8 * wave), (rollouts, 1))
        errors = errors + happened
        inside = inside + rng.binomial(happened, world.share)
        exposed = exposed + batch * np.array([world.share, 1 - world.share])
        yield Seen(value, count, inside, errors, exposed)
