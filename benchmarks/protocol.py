"""The Handbook's test protocol: which cards are removed as known, and Card Precision@100.

Le Borgne, Siblini, Lebichot, Bontempi: Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TOP, TIE_ORDERS = 100, 500
FLOOR = 0.04  # chosen on six validation weeks: chances below it rank payments no better than their number does


@dataclass(frozen=True)
class Week:
    """Rows of one experiment: trained on 7 days, a delay of 7, tested on 7."""

    train: Ints
    test: Ints


def week(day: Ints, card: Ints, fraud: Floats, start: int) -> Week:
    """``start``: first training day. On a test day, cards whose fraud is known by then are left out."""
    train = np.flatnonzero((day >= start) & (day < start + 7))
    test = []
    for k in range(7):
        known = np.unique(card[(fraud == 1) & (day >= start) & (day <= start + 6 + k)])
        today = np.flatnonzero(day == start + 14 + k)
        test.append(today[~np.isin(card[today], known)])
    return Week(train, np.concatenate(test))


def card_suspicion(day: Ints, card: Ints, chance: Floats) -> Floats:
    """The chance that a card has a fraud on a day, given to each of its payments (n): 1 − Π (1 − chance).

    Chances below `FLOOR` are noise around one base rate and count as their mean, so that among cards with nothing
    suspicious those with most payments, each of which may be at a terminal nobody has reported yet, come first.
    """
    low = chance < FLOOR
    level = np.where(low, chance[low].mean() if low.any() else 0.0, np.minimum(chance, 1 - 1e-9))
    _, of_row = np.unique(np.stack([day, card]), axis=1, return_inverse=True)
    return np.asarray(-np.expm1(np.bincount(of_row, weights=np.log1p(-level)))[of_row])


def card_precision(day: Ints, card: Ints, fraud: Floats, score: Floats, seed: int = 0) -> float:
    """Mean over days of the share of compromised cards among the 100 most suspicious; found cards leave.

    Transactions with equal scores stand in no order (a tree of depth two has four scores for thousands of them, and one
    sort happens to leave them so, another otherwise): the mean over random orders of ties is given.
    """
    days = [np.flatnonzero(day == d) for d in np.unique(day)]
    tied = any(len(np.unique(score[rows])) < len(rows) for rows in days)
    rng = np.random.default_rng(seed)
    return float(np.mean([_one_order(days, card, fraud, score, rng) for _ in range(TIE_ORDERS if tied else 1)]))


def _one_order(days: list[Ints], card: Ints, fraud: Floats, score: Floats, rng: np.random.Generator) -> float:
    found: set[int] = set()
    shares = []
    for rows in days:
        left = rows[~np.isin(card[rows], list(found))]
        order = left[np.lexsort((rng.random(len(left)), -score[left]))]
        names, first = np.unique(card[order], return_index=True)
        top = names[np.argsort(first, kind="stable")[:TOP]]
        bad = np.unique(card[left[fraud[left] == 1]])
        hits = top[np.isin(top, bad)]
        found |= set(hits.tolist())
        shares.append(len(hits) / TOP)
    return float(np.mean(shares))
