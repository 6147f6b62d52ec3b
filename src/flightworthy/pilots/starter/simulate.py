"""Invented invoices for the starter pilot: customers with a habit of paying on time or not. Replace with your data."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

START = datetime(2025, 1, 6, tzinfo=UTC)
DAYS, LIVE_FROM = 540, 420
TERMS = ("net14", "net30", "net60")


def simulate(folder: Path, seed: int = 7, invoices: int = 24000, customers: int = 600) -> dict[str, Any]:
    """Write history and live invoices with their outcomes; returns the files and the moment of the report."""
    rng = np.random.default_rng(seed)
    habit, usual = rng.beta(1.0, 4.0, customers), np.exp(rng.normal(6.2, 0.9, customers))
    day = np.sort(rng.uniform(0, DAYS, invoices))
    who = rng.integers(customers, size=invoices)
    amount = np.round(usual[who] * np.exp(rng.normal(0, 0.5, invoices)), 2)
    terms = rng.integers(3, size=invoices)
    late = rng.random(invoices) < np.clip(habit[who] * (1 + 0.3 * (amount > 2 * usual[who])), 0, 1)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: (folder / f"{name}.ndjson").open("w") for name in
             ("history", "history_outcomes", "live", "live_outcomes")}
    for i in range(invoices):
        part = "live" if day[i] >= LIVE_FROM else "history"
        row = {"invoice": f"I{i:06d}", "issued": _say(day[i]), "customer_id": f"K{who[i]:04d}",
               "amount": float(amount[i]), "terms": TERMS[terms[i]]}
        files[part].write(json.dumps(row) + "\n")
        if late[i]:
            known = day[i] + 30
            told = {"invoice": f"I{i:06d}", "late": True, "known_at": _say(known)}
            files["live_outcomes" if known >= LIVE_FROM else "history_outcomes"].write(json.dumps(told) + "\n")
    for file in files.values():
        file.close()
    return {**{name: f"{name}.ndjson" for name in files}, "trained_at": _say(LIVE_FROM), "now": _say(DAYS + 14)}


def _say(day: float) -> str:
    return (START + timedelta(seconds=round(day * 86400))).isoformat().replace("+00:00", "Z")
