"""Invented card traffic as a Parquet file, for benchmarks that need volume rather than truth."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np


def write(path: Path, events: int, cards: int = 5000, terminals: int = 10000, days: float = 120.0, seed: int = 1) -> None:
    """``events`` payments in order of time with a fraud label that depends on amount, card and terminal."""
    rng = np.random.default_rng(seed)
    card = (rng.beta(0.8, 2.0, events) * cards).astype(np.int64)
    terminal = rng.integers(terminals, size=events)
    usual = np.exp(rng.normal(3.6, 0.6, cards))
    amount = np.round(usual[card] * np.exp(rng.normal(0, 0.5, events)), 2)
    bad = rng.random(terminals) < 0.01
    fraud = (rng.random(events) < np.where(bad[terminal], 0.4, 0.002)) | (amount > 8 * usual[card])
    seconds = np.sort(rng.uniform(0, days * 86400, events)).astype(np.int64)
    columns = {"transaction_id": np.arange(events), "seconds": seconds, "card_id": card, "terminal_id": terminal,
               "amount": amount, "fraud": fraud}
    path.parent.mkdir(parents=True, exist_ok=True)
    db = duckdb.connect()
    parts = ", ".join(f"unnest(${name}) AS {name}" for name in columns)
    db.execute(f"CREATE TABLE t AS SELECT {parts}", {name: values.tolist() for name, values in columns.items()})
    db.execute("COPY (SELECT transaction_id::VARCHAR AS transaction_id, "
               "make_timestamp(1767225600000000 + seconds::BIGINT * 1000000) AS "
               f"tx_time, card_id, terminal_id, amount, fraud FROM t) TO '{path}' (FORMAT parquet)")
    db.close()
