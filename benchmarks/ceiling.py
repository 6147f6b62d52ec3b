"""How many compromised cards of the Handbook's test week anything could name: why CP@100 ends where it does.

The simulator says how each fraud came about. Large amounts (scenario 1) and a card's sudden spending (3) show in the
payments themselves; payments at a compromised terminal (2) look like all others until a first fraud there is reported,
seven days later. The scenario is read here only, to explain a result; no model sees it.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import TOP, Week


def ceiling(data: str, rows: Week, day: Any, card: Any, fraud: NDArray[np.float64], reported: NDArray[np.float64]) -> float:
    """CP@100 of a reader who names every card whose fraud shows: ``reported`` is the number of frauds known by then at the
    payment's terminal in the 28 days in which a compromise lasts. Guessing may add a card now and then."""
    scenario = np.array([row[0] for row in duckdb.execute(
        "SELECT TX_FRAUD_SCENARIO FROM read_parquet(?) ORDER BY TX_DATETIME, TRANSACTION_ID", [data]).fetchall()])
    named: set[int] = set()
    shares = []
    for today in np.unique(day[rows.test]):
        left = rows.test[(day[rows.test] == today) & ~np.isin(card[rows.test], list(named))]
        bad = left[fraud[left] == 1]
        shown = np.unique(card[bad[(scenario[bad] != 2) | (reported[bad] > 0)]])
        named |= set(shown[:TOP].tolist())
        shares.append(min(TOP, len(shown)) / TOP)
    return float(np.mean(shares))
