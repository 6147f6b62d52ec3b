"""What others do at the same looks: written after their documentation, for comparison."""

from __future__ import annotations

import numpy as np

from flightworthy.objective.evidence import Floats
from flightworthy.objective.gates import paired

_Z95 = 1.6448536269514722
_Z98 = 2.3263478740408408


def z_of_values(value: Floats, count: Floats) -> Floats:
    """The fixed-horizon test of the difference of values, by units: below -1.645 at a single look, it is significant at 5%."""
    total, squares = paired(value, count, 0.0)
    return np.asarray(total / np.sqrt(np.maximum(squares, 1e-300)))


def z_of_rates(inside: Floats, errors: Floats, exposed: Floats) -> Floats:
    """The fixed-horizon test of two proportions, errors of a challenger and of a champion."""
    share, pooled = exposed[0] / exposed.sum(), errors / exposed.sum()
    apart = inside / exposed[0] - (errors - inside) / exposed[1]
    spread = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) / (exposed.sum() * share * (1 - share)))
    return np.asarray((apart / spread)[..., 0])


def significant(z: Floats) -> Floats:
    """At 5%, one-sided: harm."""
    return np.asarray(z > _Z95)


def threshold(challenger: Floats, champion: Floats, allowed: float = 1.1, failures: int = 3) -> Floats:
    """A threshold on the ratio of error rates of each interval, arrays (rollouts, intervals): rolled back where it was exceeded
    for so many times (analysis templates with a failure limit: Argo Rollouts, Flagger). Returns that interval, or -1."""
    return first(np.cumsum(challenger > allowed * champion, -1) >= failures)


def mann_whitney(challenger: Floats, champion: Floats, every: int = 20, tolerance: float = 0.25) -> Floats:
    """The Mann-Whitney rule of Kayenta's judge on rates of intervals: rolled back when the 98% interval of the shift (Hodges and
    Lehmann) lies above a quarter of its estimate. Judged again and again, on all intervals so far."""
    found = np.zeros(challenger.shape, bool)
    for n in range(every, challenger.shape[-1] + 1, every):
        rank = max(0, int(n * n / 2 - _Z98 * np.sqrt(n * n * (2 * n + 1) / 12)))
        for i in range(len(challenger)):
            apart = np.partition(np.subtract.outer(challenger[i, :n], champion[i, :n]).ravel(), [rank, n * n // 2])
            found[i, n - 1] = apart[rank] > tolerance * abs(apart[n * n // 2])
    return first(found)


def first(found: Floats) -> Floats:
    """Of each row (rollouts, intervals), the first that is true; -1 where none is."""
    return np.where(found.any(-1), found.argmax(-1), -1)
