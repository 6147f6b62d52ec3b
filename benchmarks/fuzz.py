"""A hundred thousand broken records: each is quarantined with its raw bytes or rightly accepted; none is lost, nothing crashes.

What is right is judged by a second reading of the contract that shares no code with the first (standard library only).

Usage: python -m benchmarks.fuzz [N records] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.common import PILOTS, step, write
from benchmarks.crash import PREPARE
from flightworthy.decision.engine import Engine
from flightworthy.integration.contract import Rejection
from flightworthy.manifest.load import load

BATCH = 500
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?")
NOT_JUDGED = {"late", "time_bounds", "scale", "id_conflict", "length"}  # depend on more than one record, or on rounding
JUNK = [b"null", b"NaN", b"-Infinity", b"1e999", b"1" * 400, b"{}", b"[[[[]]]]", b'"\xc3\x28"', b"true", b"-0.0", b'"\\ud800"',
        b"\xef\xbb\xbf", b"\x00", b'{"a":{"b":{"c":1}}}', b"1.23456789012345678", b'"57.16"', b"0x10", b"'x'", b"\xff\xfe"]


def mutate(rng: random.Random, raw: bytes) -> bytes:
    """One to three changes: bytes, values, names, structure."""
    for _ in range(rng.randint(1, 3)):
        kind, at = rng.randrange(9), rng.randrange(len(raw) or 1)
        if kind == 0:
            raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
        elif kind == 1:
            raw = raw[:at] + raw[at + rng.randint(1, 9) :]
        elif kind == 2:
            raw = raw[:at] + rng.choice(JUNK) + raw[at:]
        elif kind == 3:
            values = list(re.finditer(rb':("[^"]*"|[^,}]*)', raw))
            if values:
                hit = rng.choice(values)
                raw = raw[: hit.start(1)] + rng.choice(JUNK) + raw[hit.end(1) :]
        elif kind == 4:
            pairs = list(re.finditer(rb'"[^"]*":("[^"]*"|[^,}]*)', raw))
            if pairs:
                hit = rng.choice(pairs)
                raw = raw[: hit.end()] + b"," + hit.group() + raw[hit.end() :]
        elif kind == 5:
            raw = raw.replace(b":", b" : ", 1) if rng.random() < 0.5 else raw[: at or 1]
        elif kind == 6:
            raw = rng.choice([b"[" + raw + b"]", raw + raw, raw + b",", b'"' + raw + b'"', b""])
        elif kind == 7:
            raw = raw.replace(b'"amount":', b'"amount":' + rng.choice([b"-", b"1", b"1e", b"9999999"]), 1)
        else:
            raw = raw[:at] + raw[at:][::-1]
    return raw.replace(b"\n", b" ")


def valid(raw: bytes, spec: dict[str, Any]) -> bool:
    """A second opinion on the contract."""
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise ValueError(word)

    try:
        record = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict) or not set(record) <= set(spec):
        return False
    return all(_fits(record.get(name), name in record, field) for name, field in spec.items())


def _fits(value: Any, there: bool, field: Any) -> bool:
    if value is None:
        return bool(field.nullable)
    if field.type == "text":
        return isinstance(value, str) and 1 <= len(value) <= (field.max_length or 256) and not re.search("[\ud800-\udfff]", value)
    if field.type == "category":
        return value in (field.values or []) and isinstance(value, str)
    if field.type == "time":
        return isinstance(value, str) and TIME.fullmatch(value) is not None and _a_moment(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,17}(\.\d{1,6})?", value):
        value = float(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and float(field.min) <= value <= float(field.max)


def _a_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def main() -> None:
    """Feed, count, judge; write ``out/bench/fuzz.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("records", nargs="?", type=int, default=100_000)
    args.add_argument("--seed", type=int, default=5)
    given = args.parse_args()
    rng = random.Random(given.seed)
    pilot = load(PILOTS / "fraud")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with step("traffic and training"):
            subprocess.run([sys.executable, "-c", PREPARE, str(PILOTS / "fraud"), place, str(given.seed)], check=True)
        clean = (folder / "history.ndjson").read_bytes().splitlines()
        engine = Engine.open(pilot, folder / "var")
        found: dict[str, Any] = {"records": 0, "quarantined": 0, "accepted": 0, "lost": 0, "crashes": 0,
                                 "wrongly_accepted": 0, "wrongly_refused": 0}
        reasons: Counter[str] = Counter()
        with step(f"{given.records} records"):
            while found["records"] < given.records:
                count = min(BATCH, given.records - found["records"])
                first = found["records"]
                batch = [mutate(rng, clean[(first + i) % len(clean)]) for i in range(count)]
                _feed(engine, batch, first, found, reasons)
        engine.close()
    found["reasons"] = dict(sorted(reasons.items()))
    write("fuzz", found)
    if found["lost"] or found["crashes"] or found["wrongly_accepted"] or found["wrongly_refused"]:
        sys.exit(1)


def _feed(engine: Engine, batch: list[bytes], first: int, found: dict[str, Any], reasons: Counter[str]) -> None:
    before = _newest(engine)
    try:
        results = engine.decide(batch, f"fuzz-{first}")
    except Exception as error:  # noqa: BLE001 - a crash is what this looks for
        found["crashes"] += 1
        print(f"crash: {type(error).__name__}: {error}", file=sys.stderr)
        results = []
    held: dict[int, bytes] = {}
    after = before
    while page := engine.ledger.quarantine("held", after, 1000):
        held.update({q.position: q.raw for q in page})
        after = page[-1].id
    found["records"] += len(batch)
    for i, (raw, result) in enumerate(zip(batch, results, strict=False)):
        right = valid(raw, engine.pilot.manifest.events.fields)
        if isinstance(result, Rejection):
            found["quarantined"] += 1
            reasons[result.reason] += 1
            found["lost"] += int(held.get(i) != raw)
            if right and result.reason not in NOT_JUDGED:
                found["wrongly_refused"] += 1
                print("refused", result, raw, file=sys.stderr)
        else:
            found["accepted"] += 1
            found["lost"] += int(result is None)
            if not right:
                found["wrongly_accepted"] += 1
                print("accepted", raw, file=sys.stderr)
    found["lost"] += len(batch) - len(results)


def _newest(engine: Engine) -> int:
    found = 0
    while page := engine.ledger.quarantine("held", found, 1000):
        found = page[-1].id
    return found


if __name__ == "__main__":
    main()
