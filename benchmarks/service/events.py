"""Card payments as the JSON each server takes, cut where a request's own id and time go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

FACTORS = tuple(f"f{i}" for i in range(1, 27))
INPUTS = ("amount", *FACTORS)
ID_WIDTH, TIME_WIDTH = 20, 27
_ID, _TIME = "#" * ID_WIDTH, "@" * TIME_WIDTH


@dataclass(frozen=True)
class Payments:
    """Invented payments, one row each; ``x`` is what the model sees, in the order of `INPUTS`."""

    card: np.ndarray
    terminal: np.ndarray
    x: np.ndarray
    fraud: np.ndarray


def payments(n: int, cards: int = 20_000, terminals: int = 10_000, seed: int = 1) -> Payments:
    """``n`` payments of which some percent are fraud: a matter of amount, four factors, and chance."""
    rng = np.random.default_rng(seed)
    x = np.round(np.column_stack((np.exp(rng.normal(3.6, 0.9, n)), rng.normal(0, 1, (n, len(FACTORS))))), 4)
    x[:, 0] = np.round(x[:, 0], 2)
    odds = -6.0 + 1.2 * (np.log(x[:, 0]) - 3.6) + 1.6 * x[:, 1] + 1.3 * x[:, 2] * x[:, 3] + 0.9 * np.abs(x[:, 9])
    fraud = rng.random(n) < 1 / (1 + np.exp(-odds))
    return Payments((rng.beta(0.8, 2.0, n) * cards).astype(np.int64), rng.integers(terminals, size=n), x, fraud)


class Template(msgspec.Struct):
    """A whole HTTP request around the event's id and time: ``head`` id ``middle`` time ``tail``."""

    head: bytes
    middle: bytes
    tail: bytes

    def fill(self, name: bytes, time: bytes) -> bytes:
        """The bytes to send; ``name`` has `ID_WIDTH` bytes and ``time`` `TIME_WIDTH`, as the length was promised."""
        return b"".join((self.head, name, self.middle, time, self.tail))


def event(rows: Payments, i: int) -> dict[str, Any]:
    """One payment as callers of a decision send it."""
    values = rows.x[i].tolist()
    return {"transaction_id": _ID, "tx_time": _TIME, "card_id": int(rows.card[i]), "terminal_id": int(rows.terminal[i]),
            **dict(zip(INPUTS, values, strict=True))}


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """The event itself."""
    return event


def wrapped(event: dict[str, Any]) -> dict[str, Any]:
    """The event as the only one of a batch, under the name of the argument."""
    return {"events": [event]}


def tensor(event: dict[str, Any]) -> dict[str, Any]:
    """The event in the Open Inference Protocol (v2): inputs as one tensor, everything else as parameters."""
    data = [event[name] for name in INPUTS]
    rest = {name: event[name] for name in ("tx_time", "card_id", "terminal_id")}
    return {"id": event["transaction_id"], "parameters": rest,
            "inputs": [{"name": "x", "shape": [1, len(data)], "datatype": "FP64", "data": data}]}


BODIES = {"plain": plain, "wrapped": wrapped, "tensor": tensor}


def templates(rows: Payments, path: str, shape: str, port: int) -> list[Template]:
    """Requests for every payment; ``shape`` is a key of `BODIES`."""
    made = []
    for i in range(len(rows.card)):
        body = json.dumps(BODIES[shape](event(rows, i)), separators=(",", ":")).encode()
        whole = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        head, _, rest = whole.partition(_ID.encode())
        middle, _, tail = rest.partition(_TIME.encode())
        made.append(Template(head, middle, tail))
    return made


def save(made: list[Template], path: Path) -> None:
    """Write templates where `load` and the script of wrk read them: three lengths and the bytes, one after the other."""
    with path.open("wb") as file:
        for t in made:
            file.write(b"%d %d %d\n" % (len(t.head), len(t.middle), len(t.tail)) + t.head + t.middle + t.tail)


def load(path: Path) -> list[Template]:
    """Read what `save` wrote."""
    raw, at, made = path.read_bytes(), 0, []
    while at < len(raw):
        line = raw.index(b"\n", at)
        a, b, c = map(int, raw[at:line].split())
        at = line + 1
        made.append(Template(raw[at:at + a], raw[at + a:at + a + b], raw[at + a + b:at + a + b + c]))
        at += a + b + c
    return made
