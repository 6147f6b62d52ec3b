"""Two months of card payments, invented: nothing here is a real person, card or merchant.

Who pays: cards live at a place, pay a few merchants near them, each with its own rhythm, usual amount and channels;
weekends, pay days and the hour of day matter. What goes wrong changes over time:

- skimmed terminals: for two to three weeks a third to two thirds of a terminal's chip payments are fraud;
- card testing: bursts of small online payments, then a large one; rare in the first month, common in the second;
- account takeover: for about a week a card pays several times its usual amount online, at night;
- stolen cards: a few large payments within hours.

Fraud is reported late (median four days, some after weeks), and a few reports are withdrawn. Payments that were
declined are confirmed by their owners on the phone, so their truth is known too. Some live records are broken, late,
or sent twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

START = datetime(2026, 3, 2, tzinfo=UTC)
CHANNELS = ("chip", "contactless", "online")
HOURS = np.array([4, 3, 2, 2, 2, 4, 10, 22, 30, 34, 38, 48, 58, 50, 42, 42, 48, 60, 66, 58, 44, 32, 20, 10], float)


@dataclass(frozen=True)
class Size:
    """How much traffic."""

    cards: int = 4000
    terminals: int = 1600
    days: int = 66
    live_from: int = 31


def simulate(folder: Path, seed: int = 7, size: Size = Size()) -> dict[str, Any]:
    """Write history and live traffic with their outcomes as NDJSON; returns the files and the moment of the report."""
    rng = np.random.default_rng(seed)
    payments = _fraud(rng, size, _payments(rng, size))
    order = np.argsort(payments["time"] + rng.exponential(2.0, len(payments["time"])), kind="stable")
    payments = {name: values[order] for name, values in payments.items()}
    live = payments["time"] >= size.live_from * 86400.0
    folder.mkdir(parents=True, exist_ok=True)
    lines = _lines(payments)
    clean = [line for line, now in zip(lines, live.tolist(), strict=True) if not now]
    dirty = _dirty(rng, [line for line, now in zip(lines, live.tolist(), strict=True) if now])
    (folder / "history.ndjson").write_bytes(b"\n".join(clean) + b"\n")
    (folder / "live.ndjson").write_bytes(dirty)
    reports = _reports(rng, payments)
    cut = _say(size.live_from * 86400.0)
    (folder / "history_outcomes.ndjson").write_text(_ndjson(r for r in reports if r["known_at"] < cut))
    (folder / "live_outcomes.ndjson").write_text(_ndjson(r for r in reports if r["known_at"] >= cut))
    now = START + timedelta(days=size.days + 7)
    return {"history": "history.ndjson", "history_outcomes": "history_outcomes.ndjson", "live": "live.ndjson",
            "live_outcomes": "live_outcomes.ndjson", "trained_at": cut, "now": now.isoformat(), "rivals": rivals(size)}


def rivals(size: Size) -> dict[str, Any]:
    """A champion that is ten days older than it need be, and three that challenge it: changes to the manifest's model."""
    return {"champion_at": _say((size.live_from - 10) * 86400.0), "challengers": [
        {"name": "retrained", "says": "The same model, trained on ten days more.", "model": {}},
        {"name": "weighted", "says": "Trained with frauds counted 35 times, as is often advised for rare cases: it ranks better, "
         "and its scores are no probabilities any more.", "model": {"params": {"scale_pos_weight": 35}}},
        {"name": "broken", "says": "Has no answer for cards older than any it has seen (45 days).",
         "model": {"flavour": "python:broken.py:Broken"}}]}


def _payments(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    rate = rng.gamma(3.0, 0.55, size.cards)
    usual = np.exp(rng.normal(3.4, 0.5, size.cards))
    online = rng.beta(1.2, 5.0, size.cards)
    homes, shops = rng.random((size.cards, 2)), rng.random((size.terminals, 2))
    days = np.arange(size.days)
    season = np.where((days + START.weekday()) % 7 >= 5, 1.25, 1.0) * np.where((days + 1) % 30 < 3, 1.2, 1.0)
    counts = rng.poisson(rate[:, None] * season[None])
    card, day = np.repeat(np.arange(size.cards), counts.sum(1)), np.repeat(np.tile(days, size.cards), counts.ravel())
    n = len(card)
    near = np.argsort(((homes[:, None] - shops[None]) ** 2).sum(2) * rng.gamma(2, 1, (size.cards, size.terminals)),
                      axis=1)[:, :25]
    terminal = near[card, np.minimum(24, rng.geometric(0.12, n) - 1)]
    hour = rng.choice(24, n, p=HOURS / HOURS.sum())
    channel = np.where(rng.random(n) < online[card], 2, np.where(rng.random(n) < 0.55, 1, 0))
    amount = usual[card] * np.exp(rng.normal(0, 0.55, n)) * np.array([1.3, 0.6, 1.2])[channel]
    return {"time": day * 86400.0 + hour * 3600 + rng.random(n) * 3600, "card": card, "terminal": terminal,
            "amount": amount, "channel": channel, "fraud": np.zeros(n, bool), "usual": usual[card]}


def _fraud(rng: np.random.Generator, size: Size, p: dict[str, Any]) -> dict[str, Any]:
    for _ in range(int(size.days * size.terminals / 900)):  # skimmed terminals
        start, length = rng.uniform(-10, size.days), rng.uniform(14, 21)
        there = (p["terminal"] == rng.integers(size.terminals)) & (p["channel"] == 0)
        during = there & (p["time"] > start * 86400) & (p["time"] < (start + length) * 86400)
        hit = during & (rng.random(len(during)) < rng.uniform(0.35, 0.65))
        p["fraud"] |= hit
        p["amount"] = np.where(hit, p["amount"] * 1.6, p["amount"])
    for _ in range(int(size.days * size.cards / 9000)):  # account takeover
        start, card = rng.uniform(0, size.days), rng.integers(size.cards)
        during = (p["card"] == card) & (p["time"] > start * 86400) & (p["time"] < (start + 7) * 86400)
        hit = during & (rng.random(len(during)) < 0.6)
        p["fraud"] |= hit
        p["channel"] = np.where(hit, 2, p["channel"])
        p["amount"] = np.where(hit, p["usual"] * rng.uniform(3, 7), p["amount"])
        p["time"] = np.where(hit, np.floor(p["time"] / 86400) * 86400 + rng.uniform(0, 5 * 3600, len(hit)), p["time"])
    added = [_burst(rng, size, p) for _ in range(int(size.days * size.cards / 3200))]
    return {name: np.concatenate([p[name], *(extra[name] for extra in added)]) for name in p}


def _burst(rng: np.random.Generator, size: Size, p: dict[str, Any]) -> dict[str, Any]:
    """Payments that were never their owner's: a testing burst (likelier later), or a stolen card."""
    start = size.days * 86400 * np.sqrt(rng.random())
    card = int(rng.integers(size.cards))
    testing = rng.random() < start / (size.days * 86400)
    n = int(rng.integers(5, 12)) if testing else int(rng.integers(2, 5))
    amount = np.append(rng.uniform(0.5, 6, n - 1), rng.uniform(150, 600)) if testing else rng.uniform(120, 700, n)
    times = np.minimum(start + np.sort(rng.uniform(0, 1800 if testing else 14400, n)), size.days * 86400 - 1.0)
    shop = np.full(n, rng.integers(size.terminals)) if testing else rng.integers(size.terminals, size=n)
    return {"time": times, "card": np.full(n, card), "terminal": shop, "amount": amount,
            "channel": np.full(n, 2) if testing else rng.integers(0, 2, n), "fraud": np.ones(n, bool),
            "usual": np.ones(n)}


def _reports(rng: np.random.Generator, p: dict[str, Any]) -> list[dict[str, Any]]:
    """Fraud reports, late; two in a hundred reports are of genuine payments and withdrawn a week later."""
    frauds = np.flatnonzero(p["fraud"])
    delay = np.minimum(np.exp(rng.normal(np.log(4), 0.7, len(frauds))), 40) * 86400
    out = [{"transaction_id": _id(i), "fraud": True, "known_at": _say(p["time"][i] + d)}
           for i, d in zip(frauds.tolist(), delay.tolist(), strict=True)]
    for i in rng.choice(np.flatnonzero(~p["fraud"]), max(1, len(frauds) // 50), replace=False).tolist():
        told = p["time"][i] + 86400 * rng.uniform(1, 6)
        out.append({"transaction_id": _id(i), "fraud": True, "known_at": _say(told)})
        out.append({"transaction_id": _id(i), "fraud": False, "known_at": _say(told + 7 * 86400)})
    return sorted(out, key=lambda r: (r["known_at"], r["transaction_id"]))


def _dirty(rng: np.random.Generator, lines: list[bytes]) -> bytes:
    """Live traffic as it comes: a byte-order mark, one record in three hundred broken, resent or very late, and a last
    line cut off in the middle."""
    breakers = [
        lambda s: s[: len(s) // 2], lambda s: s.replace(b'"amount":', b'"amount":NaN,"x":'),
        lambda s: s.replace(b'"amount":', b'"amount":-'), lambda s: s.replace(b'"card_id"', b'"card"'),
        lambda s: s.replace(b'"channel":"', b'"channel":"tele'), lambda s: s[:-1] + b',"amount":1.0}',
        lambda s: s.replace(b'"amount":', b'"amount":1e999,"y":'), lambda s: s.replace(b'"M', b'"\xff\xfeM'),
        lambda s: b"[" + s + b"]", lambda s: s.replace(b"2026", b"2062"), lambda s: s.replace(b"2026-0", b"2025-0")]
    out: list[bytes] = []
    for line, roll in zip(lines, rng.random(len(lines)).tolist(), strict=True):
        if roll < 1 / 300:
            out.append(breakers[int(roll * 300 * len(breakers))](line))
        out.append(line)
        if roll > 1 - 1 / 500:
            out.append(line)  # the sender did not see our answer and sends it again
    return b"\xef\xbb\xbf" + b"\n".join(out) + b"\n" + lines[-1][:60]


def _lines(p: dict[str, Any]) -> list[bytes]:
    rows = zip(p["time"].tolist(), p["card"].tolist(), p["terminal"].tolist(), p["amount"].tolist(),
               p["channel"].tolist(), strict=True)
    return [(f'{{"transaction_id":"{_id(i)}","tx_time":"{_say(t)}","card_id":"C{card:05d}","terminal_id":"M{shop:05d}",'
             f'"amount":{max(0.5, amount):.2f},"channel":"{CHANNELS[channel]}"}}').encode()
            for i, (t, card, shop, amount, channel) in enumerate(rows)]


def _id(i: int) -> str:
    return f"T{i:08d}"


def _say(seconds: float) -> str:
    return (START + timedelta(seconds=int(seconds))).isoformat().replace("+00:00", "Z")


def _ndjson(rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
