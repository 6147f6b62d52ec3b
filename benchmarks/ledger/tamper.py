"""Change a ledger behind its back, one change at a time: an audit must find each one.

Single fields and single bits, rows taken out, put in, exchanged; the tail cut off with everything that speaks of it; and the
whole history written anew by an operator who has every key but the witness's. Writes ``out/bench/tamper.json``.

Usage: python -m benchmarks.ledger.tamper [N changes] [--seed S] [--entries N]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import step, write
from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.adapters.sqlite.seen import SqliteSeen
from flightworthy.governance.ledger import ACT, DECISION, OUTCOME, Block, Entries, Entry
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.leaf import leaf_hash_of
from flightworthy.governance.log.note import COSIGNED, Signer
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.governance.log.witness import Witness
from flightworthy.governance.segment import rows_of
from flightworthy.ground.clock import ManualClock
from flightworthy.ground.errors import LedgerError
from flightworthy.operation.witness import server
from flightworthy.operation.witnessing import Witnessing, ask_all

LOG = Signer("flightworthy/bench/00000000", bytes(range(32)))
WITNESS = Signer("witness.example/w", bytes([7]) * 32, COSIGNED)
COLUMNS = {"segment": ("first", "count", "kinds", "body", "leaves", "seal"), "event": ("id", "seq"), "head": ("last",),
           "newest": ("kind", "key", "seq"), "subtree": ("level", "place", "hash"),
           "checkpoint": ("size", "number", "note", "seal")}
Change = Callable[[sqlite3.Connection, random.Random], bool]


def build(path: Path, count: int, policy: Policy, forged: int = 0, publish_every: int = 100) -> None:
    """A ledger of decisions, outcomes and acts with a checkpoint now and then; entry ``forged`` says something else."""
    ledger = SqliteLedger(path)
    publisher, witnessing = Publisher(ledger, [LOG]), Witnessing(policy, ledger)
    made = [_entry(seq, seq == forged) for seq in range(1, count + 1)]
    for start in range(0, count, publish_every):
        ledger.commit(Block(Entries.of(made[start : start + publish_every])))
        published = publisher.publish()
        if published is not None:
            witnessing.sign(published)
    ledger.close()


def _entry(seq: int, forged: bool) -> Entry:
    kind, key = DECISION, f"event-{seq}"
    if seq % 5 == 3:
        kind, key = OUTCOME, f"event-{seq - 1 - seq % 2 * 5}"
    elif seq % 97 == 0:
        kind, key = ACT, "switch"
    content = b'{"seq":%d,"amount":%d,"action":"%s"}' % (seq, seq * 7919 % 1000, b"forged" if forged else b"approve")
    return Entry(seq, kind, key, content, leaf_hash_of(seq, kind, content))


# -- changes ------------------------------------------------------------------------------------------------------
def field(db: sqlite3.Connection, rng: random.Random, bit: bool = False) -> bool:
    """Another value, or one bit, in one field of one row."""
    table = rng.choice(list(COLUMNS))
    column = rng.choice(COLUMNS[table])
    keys = [name for _, name, _, _, _, key in db.execute(f"PRAGMA table_info({table})") if key]
    names = ", ".join([column, *keys])
    row = rng.choice(db.execute(f"SELECT {names} FROM {table}").fetchall())
    value = _flipped(row[0], rng) if bit else _other(row[0], rng)
    if value == row[0]:
        return False
    where = " AND ".join(f"{key} = ?" for key in keys)
    try:
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value, *row[1:]))
    except sqlite3.IntegrityError:  # another row has this key
        return False
    return True


def _flipped(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << rng.randrange(40)
    content = bytearray(value.encode() if isinstance(value, str) else value)
    at = rng.randrange(len(content))
    content[at] ^= 1 << rng.randrange(7 if isinstance(value, str) else 8)
    return content.decode() if isinstance(value, str) else bytes(content)


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int):
        return max(0, value + rng.choice((-64, -2, -1, 1, 2, 64)))
    if isinstance(value, str):
        return rng.choice((value + "x", value[1:], value.upper(), f"event-{rng.randrange(2000)}"))
    start = rng.randrange(len(value))
    return rng.choice((value[:start], value + bytes([rng.randrange(256)]), value[:start] + rng.randbytes(8) + value[start + 8 :]))


def deleted(db: sqlite3.Connection, rng: random.Random) -> bool:
    """A row taken out."""
    table = rng.choice([name for name in COLUMNS if name != "head"])
    keys = [name for _, name, _, _, _, key in db.execute(f"PRAGMA table_info({table})") if key]
    row = rng.choice(db.execute(f"SELECT {', '.join(keys)} FROM {table}").fetchall())
    db.execute(f"DELETE FROM {table} WHERE {' AND '.join(f'{key} = ?' for key in keys)}", row)
    return True


def inserted(db: sqlite3.Connection, rng: random.Random) -> bool:
    """A row put in: a copy of one under another key."""
    table = rng.choice([name for name in COLUMNS if name != "head"])
    names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    row = list(rng.choice(db.execute(f"SELECT * FROM {table}").fetchall()))
    at = {"segment": 0, "event": 0, "newest": 1, "subtree": 1, "checkpoint": 0}[table]
    row[at] = _other(row[at], rng)
    try:
        db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(names))})", row)
    except sqlite3.IntegrityError:
        return False
    return True


def exchanged(db: sqlite3.Connection, rng: random.Random) -> bool:
    """Two entries change places, in a segment written as the program itself would write it."""
    rows = db.execute("SELECT first, count FROM segment").fetchall()
    first, count = rng.choice([row for row in rows if row[1] > 1])
    made = [_entry(seq, False) for seq in range(first, first + count)]
    i, j = rng.sample(range(count), 2)
    made[i], made[j] = (old._replace(seq=new.seq) for new, old in ((made[i], made[j]), (made[j], made[i])))
    made = [entry._replace(leaf=leaf_hash_of(entry.seq, entry.kind, entry.content)) for entry in made]
    _rewrite(db, made)
    return True


def replaced(db: sqlite3.Connection, rng: random.Random) -> bool:
    """An entry says something else, in a segment written as the program itself would write it."""
    first, count = rng.choice(db.execute("SELECT first, count FROM segment").fetchall())
    _rewrite(db, [_entry(seq, seq == first + rng.randrange(count)) for seq in range(first, first + count)])
    return True


def _rewrite(db: sqlite3.Connection, made: list[Entry]) -> None:
    import zstandard

    row = rows_of(Entries.of(made), zstandard.ZstdCompressor(level=1))[0]
    before = db.execute("SELECT body FROM segment WHERE first = ?", (row[0],)).fetchone()
    db.execute("UPDATE segment SET count = ?, kinds = ?, leaves = ?, seal = ?, body = ? WHERE first = ?", (*row[1:], row[0]))
    if before[0] == row[5]:
        raise Unchanged


def cut(db: sqlite3.Connection, rng: random.Random) -> bool:
    """The tail is gone, and everything that speaks of it: as if it had never been."""
    sizes = [size for (size,) in db.execute("SELECT size FROM checkpoint ORDER BY size")]
    last = rng.choice(sizes[1:-1])
    for statement in ("DELETE FROM segment WHERE first > ?", "DELETE FROM event WHERE seq > ?",
                      "DELETE FROM newest WHERE seq > ?", "DELETE FROM subtree WHERE (place + 1) * 256 > ?",
                      "DELETE FROM checkpoint WHERE size > ?", "UPDATE head SET last = ?"):
        db.execute(statement, (last,))
    for seq in range(1, last + 1):  # what later entries had replaced comes back
        entry = _entry(seq, False)
        if entry.kind != DECISION:
            db.execute("INSERT INTO newest VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq",
                       (entry.kind, entry.key, seq))
    return True


class Unchanged(Exception):  # noqa: N818 - nothing went wrong
    """The same came out."""


CHANGES: dict[str, tuple[Change, int]] = {
    "field": (field, 30), "bit": (partial(field, bit=True), 30), "deletion": (deleted, 10), "insertion": (inserted, 8),
    "reordering": (exchanged, 8), "replacement": (replaced, 8), "truncation": (cut, 4)}
REWRITES = 2  # of a hundred


def trial(seed: int, folder: Path, entries: int, policy_text: str) -> tuple[str, bool, str]:
    """One change: its kind, whether it was found, and what it was if not."""
    rng, policy = random.Random(seed), Policy.parse(policy_text)
    path = folder / f"trial-{os.getpid()}-{threading.get_ident()}.db"
    kinds = [*CHANGES, "rewrite"]
    try:
        while True:
            kind = rng.choices(kinds, [weight for _, weight in CHANGES.values()] + [REWRITES])[0]
            _clear(path)
            if kind == "rewrite":
                build(path, entries, Policy(policy.logs), forged=rng.randrange(entries) + 1)
                break
            shutil.copy(folder / "base.db", path)
            try:
                with closing(sqlite3.connect(path)) as db, db:  # leaving a connection does not close it
                    if CHANGES[kind][0](db, rng):
                        break
            except Unchanged:
                pass
        return kind, _found(path, policy), f"{kind}, seed {seed}"
    finally:
        _clear(path)


def _found(path: Path, policy: Policy) -> bool:
    """As ``flightworthy audit verify --policy`` does it."""
    try:
        ledger = SqliteLedger(path, read_only=True)
    except LedgerError:  # it cannot even be opened
        return True
    try:
        return not audit(ledger, policy).fine or any(ask_all(ledger, policy))
    finally:
        ledger.close()


def _clear(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def main() -> None:
    """Build, change, look."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("changes", nargs="?", type=int, default=10_000)
    args.add_argument("--seed", type=int, default=5)
    args.add_argument("--entries", type=int, default=1000)
    given = args.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seen = SqliteSeen(folder / "seen.db")
        asked = server(Witness(WITNESS, {LOG.verifier.name: [LOG.verifier]}, seen, ManualClock(1_000_000)), "127.0.0.1", 0)
        threading.Thread(target=asked.serve_forever, daemon=True).start()
        text = f"log {LOG.verifier}\nwitness w {WITNESS.verifier} http://127.0.0.1:{asked.server_address[1]}\nquorum w\n"
        with step("a ledger, witnessed"):
            build(folder / "base.db", given.entries, Policy.parse(text))
        if _found(folder / "base.db", Policy.parse(text)):
            raise SystemExit("something is found in the ledger as it was written: the test would find nothing else")
        with step(f"{given.changes} changes"):
            found = _all(given, folder, text)
        asked.shutdown()
    write("tamper", found)
    if found["missed"]:
        sys.exit(1)


def _all(given: argparse.Namespace, folder: Path, text: str) -> dict[str, Any]:
    made, caught, missed = Counter[str](), Counter[str](), []
    run = partial(trial, folder=folder, entries=given.entries, policy_text=text)
    first = given.seed * 1_000_000
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for kind, found, what in pool.map(run, range(first, first + given.changes), chunksize=50):
            made[kind] += 1
            caught[kind] += found
            if not found:
                missed.append(what)
    return {"changes": made.total(), "found": caught.total(), "missed": missed[:20], "entries": given.entries,
            "by_kind": {kind: {"changes": made[kind], "found": caught[kind]} for kind in sorted(made)}}


if __name__ == "__main__":
    main()
