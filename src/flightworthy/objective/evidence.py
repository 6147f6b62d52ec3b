"""Evidence against "no worse than this", valid at every look: e-values that multiply up as data comes in.

An e-value is at most 1 on average while the claim holds, at every look (Ville's inequality: it ever reaches 1/α with probability
at most α). So one may look after each batch, stop when one likes, and go on. All functions take arrays and return natural
logarithms: evidence of level α is there where the logarithm reaches log(1/α).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]



def _normal(at: Floats, *deviations: float) -> Floats:
    """Logarithms of weights that add up to one: as half-normal distributions have them at these points, on a par."""
    weights = np.sum([np.exp(-0.5 * (at / s) ** 2) / s for s in deviations], 0) * np.gradient(at)
    return np.asarray(np.log(weights / weights.sum()))


def _mixed(logs: Floats, weights: Floats) -> Floats:
    most = np.max(logs, -1, keepdims=True)
    return np.asarray(most[..., 0] + np.log(np.sum(np.exp(logs - most + weights), -1)))


# Logarithms of rate ratios beyond the claimed one, and how much each is bet on: half-normal with deviations .05, .3 and 1.5, so
# that a ratio of 1.05 and one of 10 are both found about as soon as by a test made for it.
_STEPS = np.concatenate([np.geomspace(0.005, 0.2, 24), np.geomspace(0.22, 5.0, 24)])
_BETS = _normal(_STEPS, 0.05, 0.3, 1.5)
# And λ of `above_zero`, in units of 1/√scale.
_PULLS = np.geomspace(0.01, 5.0, 48)
_PULLED = _normal(_PULLS, 1.0)


def above_ratio(inside: npt.ArrayLike, events: npt.ArrayLike, share: npt.ArrayLike, ratio: float = 1.0) -> Floats:
    """Evidence that events (errors, fallbacks, decisions slower than a limit) come more than ``ratio`` times as often in one arm.

    Arrays (..., stages): of ``events`` in both arms, ``inside`` fell in the arm that had ``share`` of the exposure. Given that an
    event happens, where it falls is a coin whose chance follows from the shares and the ratio of rates alone, whatever the rate
    is and however it moves over the day; the test is exact for independent events, however rare. (The argument is that of
    Lindon and Malek 2022, "Anytime-valid inference for multinomial count data", for a share that may change between stages.)

    >>> round(float(above_ratio([30], [40], [0.5])), 2)  # 30 of 40 errors in an arm with half of the traffic
    3.38
    """
    k, n, p = (np.asarray(x, float)[..., None] for x in (inside, events, share))
    at = np.log(ratio)
    gains = k * _STEPS - n * (np.log1p(p * np.expm1(at + _STEPS)) - np.log1p(p * np.expm1(at)))
    return _mixed(gains.sum(-2), _BETS)


def below_ratio(inside: npt.ArrayLike, events: npt.ArrayLike, share: npt.ArrayLike, ratio: float = 1.0) -> Floats:
    """Evidence that events come less than ``ratio`` times as often: the same, seen from the other arm."""
    k, n, p = (np.asarray(x, float) for x in (inside, events, share))
    return above_ratio(n - k, n, 1 - p, 1 / ratio)


def above_rate(bad: npt.ArrayLike, all_: npt.ArrayLike, rate: float) -> Floats:
    """Evidence that something happens to a larger share than ``rate``: ``bad`` of ``all_``. The likelihood ratio of shares
    beyond it, bet on as above; a martingale for independent trials at the claimed share, and less below it.

    >>> round(float(above_rate(30, 1000, 0.01)), 2)
    10.45
    """
    return _rate(bad, all_, rate, np.log(np.minimum(rate * np.exp(_STEPS), (1 + rate) / 2)))


def below_rate(bad: npt.ArrayLike, all_: npt.ArrayLike, rate: float) -> Floats:
    """Evidence that it happens to a smaller share.

    >>> round(float(below_rate(0, 6000, 0.001)), 2)
    3.46
    """
    return _rate(bad, all_, rate, math.log(rate) - _STEPS)


def _rate(bad: npt.ArrayLike, all_: npt.ArrayLike, rate: float, at: Floats) -> Floats:
    k, n = (np.asarray(x, float)[..., None] for x in (bad, all_))
    return _mixed(k * (at - math.log(rate)) + (n - k) * (np.log1p(-np.exp(at)) - math.log1p(-rate)), _BETS)


def either(first: float, second: float) -> float:
    """Evidence against two claims made together, from evidence against each: their mean is an e-value, too."""
    return float(np.logaddexp(first, second) - math.log(2))


def above_zero(total: npt.ArrayLike, squares: npt.ArrayLike, scale: npt.ArrayLike) -> Floats:
    """Evidence that differences of pairs are above zero on average, from their sum and the sum of their squares.

    A pair is a unit of one arm and one of the other, both drawn by chance: while the arms are alike, swapping them changes
    nothing, so each difference is as likely as its negative. Then exp(λ·sum - λ²/2·squares) is 1 at most on average, for every λ
    and without any moment of the values (de la Peña 1999, "A general class of exponential inequalities", for symmetric
    differences): heavy tails cost power, not honesty. Where a difference is on average zero but not symmetric, this holds in the
    limit of many pairs. λ is mixed over a half-normal of variance 1/``scale``, see `scale_of`.

    >>> round(float(above_zero(60.0, 400.0, scale_of(400.0, 400))), 2)
    3.4
    """
    s, v, c = (np.asarray(x, float)[..., None] for x in (total, squares, scale))
    pulls = _PULLS / np.sqrt(c)
    return _mixed(pulls * s - pulls**2 * v / 2, _PULLED)


def scale_of(squares: npt.ArrayLike, pairs: npt.ArrayLike, at: float = 1000.0, alpha: float = 0.05) -> Floats:
    """The scale with which `above_zero` is sharpest around ``at`` pairs, from the squares of earlier ones (or of the same: it
    depends on no sign). The constant is that of `sequences.tuned`."""
    return np.asarray(np.asarray(squares, float) / pairs * at / (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)))
