"""What the ledger costs: durable appends with tree and signatures, beside the same bytes written to the bare disk; how soon an
entry is provable; how fast a ledger is verified; how all of it grows. Writes ``out/bench/ledger.json``.

Usage: python -m benchmarks.ledger.append [--entries N] [--growth N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from services.postgres import Postgres, postgres_programs

from benchmarks.common import on_disk, step, write
from benchmarks.ledger.erasure import payment, trained
from benchmarks.ledger.tamper import LOG
from flightworthy.adapters.postgres.factory import open_ledger
from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.decision.engine import Engine
from flightworthy.governance.ledger import DECISION, Block, Entries, Ledger
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.disclosure import prove
from flightworthy.governance.log.leaf import leaf_hash_of
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.ground.clock import ManualClock
from flightworthy.operation.publishing import Publishing

GROUPS = (64, 256, 8192)
POLICY = Policy([LOG.verifier])
_flush = getattr(os, "fdatasync", os.fsync)


def contents(first: int, count: int) -> list[bytes]:
    """Records like those of card payments with 26 more fields, about 700 bytes each; ids without order."""
    rng = random.Random(first)
    return [msgspec.msgpack.encode({
        "v": 1, "kind": DECISION, "seq": seq, "id": f"{rng.getrandbits(64):016x}",
        "event": {"card": rng.randrange(5000), "amount": round(rng.lognormvariate(3, 1), 2)} | {
            f"f{i}": round(rng.gauss(0, 1), 4) for i in range(26)},
        "features": [round(rng.random(), 4) for _ in range(20)], "arm": "treated", "propensity": 0.95, "model": b"m" * 32,
        "outputs": [rng.random()], "path": ["champion"], "by": "champion", "rule": 2, "action": "approve",
        "otherwise": "approve", "arrived": 1_790_000_000_000_000 + seq, "decided": 1_790_000_000_000_100 + seq,
        "clocks": [0, 504, 243], "pilot": b"p" * 32}) for seq in range(first, first + count)]


def block(first: int, records: list[bytes]) -> Block:
    """As the engine makes it: leaf hashes included."""
    keys = [msgspec.msgpack.decode(record, type=_Id).id for record in records]
    return Block(Entries(first, [DECISION] * len(records), keys, records,
                         [leaf_hash_of(first + i, DECISION, record) for i, record in enumerate(records)]))


class _Id(msgspec.Struct):
    id: str


def appended(folder: Path, group: int, entries: int) -> dict[str, float]:
    """Entries a second of our ledger, of bare SQLite and of the bare disk, in turns."""
    groups = [contents(1 + i * group, group) for i in range(max(3, entries // group))]
    ours = _ours(SqliteLedger(folder / f"ours-{group}.db"), groups)
    plain = _sqlite(folder / f"plain-{group}.db", groups)
    disk = _disk(folder / f"disk-{group}", groups)
    count = len(groups) * group
    return {"entries_per_second": count / ours, "floor_per_second": count / disk, "over_floor": ours / disk,
            "sqlite_per_second": count / plain, "over_sqlite": ours / plain,
            "bytes_per_entry": sum(map(len, groups[0])) / group, "stored_per_entry": _size(folder / f"ours-{group}.db") / count}


def in_postgres(server: Postgres, group: int, entries: int) -> dict[str, float]:
    """Entries a second of our ledger in PostgreSQL, of a table with the same index filled by COPY, and of a bare COPY."""
    groups = [contents(1 + i * group, group) for i in range(max(3, entries // group))]
    ours = _ours(open_ledger(server.url(f"ours_{group}")), groups)
    indexed, bare = (_copied(server, groups, constraint) for constraint in ("PRIMARY KEY", ""))
    count = len(groups) * group
    return {"entries_per_second": count / ours, "floor_per_second": count / bare, "over_floor": ours / bare,
            "indexed_copy_per_second": count / indexed, "over_indexed_copy": ours / indexed}


def _copied(server: Postgres, groups: list[list[bytes]], constraint: str) -> float:
    """Seconds for the same records by COPY, a transaction for each group."""
    rows, seq = [], 1
    for group in groups:
        rows.append([(seq + i, msgspec.msgpack.decode(record, type=_Id).id, record) for i, record in enumerate(group)])
        seq += len(group)

    async def copy() -> float:
        db = await asyncpg.connect(server.url().partition("?")[0])
        await db.execute(f"DROP TABLE IF EXISTS plain; CREATE TABLE plain (seq bigint, id text {constraint}, content bytea)")
        started = time.perf_counter()
        for part in rows:
            await db.copy_records_to_table("plain", records=part)
        took = time.perf_counter() - started
        await db.close()
        return took

    return asyncio.run(copy())


def spine(folder: Path, url: str, entries: int) -> float:
    """Decisions a second of the whole engine, in batches of 256: contract, features, model, policy, records, durable."""
    place = folder / f"spine-{url.partition(':')[0]}"
    place.mkdir()
    pilot, var = trained(place, f"adapters: {{ledger: '{url}'}}\n", private=False)
    engine, rng = Engine.open(pilot, var, ManualClock(1_800_000_000_000_000), snapshots=False), random.Random(5)
    events = [payment(i, rng) for i in range(entries)]
    engine.decide(events[:1000])
    started = time.perf_counter()
    for i in range(1000, entries, 256):
        engine.decide(events[i : i + 256])
    took = time.perf_counter() - started
    engine.close()
    return (entries - 1000) / took


def _ours(ledger: Ledger, groups: list[list[bytes]]) -> float:
    """Seconds, from records to durable: leaf hashes, compression, index, transaction; the tree is signed beside it."""
    first = 1
    blocks = []
    for group in groups:  # keys are the caller's own, and not part of the cost
        blocks.append(block(first, group))
        first += len(group)
    with Publishing(Publisher(ledger, [LOG])):
        started = time.perf_counter()
        for made in blocks:
            entries = made.entries
            leaves = [leaf_hash_of(entries.first + i, DECISION, record) for i, record in enumerate(entries.contents)]
            ledger.commit(Block(Entries(entries.first, entries.kinds, entries.keys, entries.contents, leaves)))
        took = time.perf_counter() - started
    ledger.close()
    return took


def _sqlite(path: Path, groups: list[list[bytes]]) -> float:
    """Seconds for the same records in a table with an index on their ids: a row each, one transaction a group, no proof."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content BLOB NOT NULL)")
    rows, seq = [], 1
    for group in groups:
        rows.append([(seq + i, msgspec.msgpack.decode(record, type=_Id).id, record) for i, record in enumerate(group)])
        seq += len(group)
    started = time.perf_counter()
    for part in rows:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO entry VALUES (?, ?, ?)", part)
        db.execute("COMMIT")
    took = time.perf_counter() - started
    db.close()
    return took


def _disk(path: Path, groups: list[list[bytes]]) -> float:
    """Seconds for one write and one flush a group, over a file that has its length already."""
    parts = [b"".join(group) for group in groups]
    with path.open("wb", buffering=0) as file:
        file.write(bytes(sum(map(len, parts))))
        os.fsync(file.fileno())
        file.seek(0)
        started = time.perf_counter()
        for part in parts:
            file.write(part)
            _flush(file.fileno())
        return time.perf_counter() - started


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def proofs(folder: Path, seconds: float = 8.0) -> dict[str, float]:
    """From the acknowledgement of an entry until its proof is in hand, under a steady stream of small groups."""
    ledger, first = SqliteLedger(folder / "proofs.db"), 1
    waiting: list[tuple[float, int]] = []
    took: list[float] = []
    with Publishing(Publisher(ledger, [LOG])):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end or waiting:
            if now < end:
                ledger.commit(block(first, contents(first, 20)))
                first += 20
                waiting.append((time.monotonic(), first - 1))
            newest = ledger.log.newest()
            while waiting and newest is not None and waiting[0][1] <= newest.size:
                acknowledged, seq = waiting.pop(0)
                prove(ledger, ledger.read([seq])[0])
                took.append(time.monotonic() - acknowledged)
            time.sleep(0.002)
    ledger.close()
    took.sort()
    return {"proof_p50_s": took[len(took) // 2], "proof_p99_s": took[len(took) * 99 // 100], "proofs": len(took)}


def grown(folder: Path, entries: int) -> dict[str, Any]:
    """A ledger of many entries: appends, proofs, verification and bytes on the way."""
    ledger = SqliteLedger(folder / "grown.db")
    publisher, size, found = Publisher(ledger, [LOG]), 0, []
    for until in [n for n in (10_000, 100_000, 1_000_000, 10_000_000) if n <= entries]:
        spent = 0.0
        while size < until:
            made = block(size + 1, contents(size + 1, min(8192, until - size)))
            spent += _timed(lambda made=made: ledger.commit(made))  # type: ignore[misc]
            size += len(made.entries)
            spent += _timed(publisher.publish)
        times = [_timed(partial(_proved, ledger, seq)) for seq in random.Random(until).sample(range(1, size + 1), 50)]
        started = time.perf_counter()
        checked = audit(ledger, POLICY)
        seconds = time.perf_counter() - started
        if not checked.fine:
            raise SystemExit(f"the ledger does not verify: {checked.findings[:3]}")
        found.append({"entries": size, "appends_per_second": (until * 0.9 if until > 10_000 else until) / spent,
                      "prove_ms": 1000 * statistics.median(times), "bytes_per_entry": _size(folder / "grown.db") / size,
                      "verify_per_second": size / seconds})
    ledger.close()
    return {"growth": found, "verify_per_second": found[-1]["verify_per_second"]}


def _proved(ledger: SqliteLedger, seq: int) -> bytes:
    return prove(ledger, ledger.read([seq])[0])


def _timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print, write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--entries", type=int, default=100_000, help="for each size of a group")
    args.add_argument("--growth", type=int, default=1_000_000, help="entries the ledger grows to")
    given = args.parse_args()
    with tempfile.TemporaryDirectory(dir=on_disk()) as place:
        folder = Path(place)
        groups = {}
        for group in GROUPS:
            with step(f"groups of {group}"):
                groups[f"group_{group}"] = appended(folder, group, given.entries)
        with step("proofs"):
            found = proofs(folder)
        with step(f"growth to {given.growth:,}"):
            found |= grown(folder, given.growth)
        with step("the whole spine on SQLite"):
            on_sqlite = spine(folder, "sqlite:///ledger.db", 30_000)
        postgres = {}
        if postgres_programs() is not None:
            server = Postgres(folder / "postgres")
            for group in GROUPS:
                with step(f"groups of {group} in PostgreSQL"):
                    postgres[f"group_{group}"] = in_postgres(server, group, given.entries)
            with step("the whole spine on PostgreSQL"):
                postgres |= postgres["group_256"] | {"spine_per_second": spine(folder, server.url("spine"), 30_000)}
            server.stop()
    write("ledger", {"sqlite": {**groups["group_256"], **groups, "spine_per_second": on_sqlite}, "postgresql": postgres, **found})


if __name__ == "__main__":
    main()
