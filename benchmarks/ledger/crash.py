"""SIGKILL at every step of append, integrate and publish: before and after each statement that the ledger gives to its database,
SQLite and PostgreSQL; and of PostgreSQL itself, at any moment.

A writer appends, publishes and has its checkpoints countersigned; it tells over a pipe what was acknowledged, and kills itself at
the step it was told. Then the ledger is opened again and looked at; the next writer goes on with it. Writes
``out/bench/ledger_crash.json``.

Usage: python -m benchmarks.ledger.crash [N kills] [--seed S]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from services.postgres import Postgres, postgres_programs

from benchmarks.common import step, write
from benchmarks.ledger.tamper import LOG, WITNESS
from flightworthy.adapters.postgres.factory import open_ledger
from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.adapters.sqlite.seen import SqliteSeen
from flightworthy.governance.ledger import DECISION, OUTCOME, Block, Entries, Ledger
from flightworthy.governance.ledger_checks import entries
from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.note import Note
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.governance.log.witness import Witness, asked
from flightworthy.ground.clock import ManualClock

POLICY = Policy([LOG.verifier], {"w": WITNESS.verifier})
STEPS = 160  # at most so many statements in one life of a writer
SAME = 20  # kills of one ledger; looking at a long one takes long


_fork = multiprocessing.get_context("forkserver")  # a process that has threads, as this one of the database's driver, forks badly
_fork.set_forkserver_preload(["benchmarks.ledger.tamper"])
_TELL = 200  # a writer's file descriptor for what it did


class Store(NamedTuple):
    """Where a ledger lies: a file, or a schema of a server."""

    folder: Path
    url: str = ""

    def open(self, read_only: bool = False) -> Ledger:
        """The ledger."""
        return open_ledger(self.url, read_only=read_only) if self.url else SqliteLedger(self.folder / "ledger.db", read_only)

    @staticmethod
    def arm(ledger: Any, last: int, after: bool) -> None:
        """Make a statement of the ledger its last one; 0: none."""
        if isinstance(ledger, SqliteLedger):
            ledger._writer = ledger.log._writer = Deadly(ledger._writer, last, after)
        elif last:
            link = ledger._link
            deadly = AsyncDeadly(link._run(link._connected()), last, after)
            link._writer = deadly


class Deadly:
    """A connection that ends the process before or after its ``last`` statement from now on."""

    def __init__(self, inner: Any, last: int, after: bool) -> None:
        self._inner, self._left, self._after = inner, last, after

    def execute(self, *given: Any) -> Any:
        """One statement."""
        return self._do(self._inner.execute, given)

    def executemany(self, *given: Any) -> Any:
        """One statement for many rows."""
        return self._do(self._inner.executemany, given)

    def _do(self, call: Any, given: tuple[Any, ...]) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            self._die(given[0])
        result = call(*given)
        if self._left == 0:
            self._die(given[0])
        return result

    def _die(self, statement: str) -> None:
        os.write(_TELL, f"at {' '.join(statement.split()[:3])} {'after' if self._after else 'before'}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class AsyncDeadly(Deadly):
    """The same of a connection whose statements are awaited."""

    async def execute(self, *given: Any, **how: Any) -> Any:
        """One statement."""
        return await self._wait(self._inner.execute, given, how)

    async def executemany(self, *given: Any, **how: Any) -> Any:
        """One statement for many rows."""
        return await self._wait(self._inner.executemany, given, how)

    async def fetchval(self, *given: Any, **how: Any) -> Any:
        """One statement with an answer."""
        return await self._wait(self._inner.fetchval, given, how)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Its end is a statement too."""
        inner = self._inner.transaction()
        await self._wait(inner.start, (), {}, "BEGIN")
        yield
        await self._wait(inner.commit, (), {}, "COMMIT")

    async def _wait(self, call: Any, given: tuple[Any, ...], how: dict[str, Any], name: str = "") -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            self._die(name or given[0])
        result = await call(*given, **how)
        if self._left == 0:
            self._die(name or given[0])
        return result


def live(store: Store, last: int, after: bool, rng: random.Random) -> None:
    """Append and publish until the end; every acknowledgement is told."""
    ledger = store.open()
    publisher = Publisher(ledger, [LOG])
    seen = SqliteSeen(store.folder / "seen.db")
    witness = Witness(WITNESS, {LOG.verifier.name: [LOG.verifier]}, seen, ManualClock(1_000_000))
    store.arm(ledger, last, after)
    nodes = TiledNodes(ledger.log.hashes)
    while True:
        first = ledger.last() + 1
        made = entries(first, rng.choice((1, 3, 70, 300)), rng.choice((DECISION, OUTCOME)))
        ledger.commit(Block(Entries.of(made)))
        os.write(_TELL, f"entry {made[-1].seq}\n".encode())
        published = publisher.publish() if rng.random() < 0.7 else None
        if published is None:
            continue
        signed = note.parse(published.note)
        os.write(_TELL, f"checkpoint {published.size} {Checkpoint.parse(signed.text).root.hex()}\n".encode())
        with seen.held(LOG.verifier.name) as latest:
            old = latest.size
        reply = witness.add(asked(old, merkle.consistency(nodes, old, published.size), published.note))
        if reply.status != 200:
            os.write(_TELL, f"refused {reply.status} {old} {published.size}\n".encode())
            os._exit(1)
        lines = signed.lines + note.lines_of(reply.content.decode())
        ledger.log.countersign(published.size, bytes(Note(signed.text, lines)))


def _life(tell: Connection, store: Store, last: int, after: bool, seed: int) -> None:
    os.dup2(tell.fileno(), _TELL)
    live(store, last, after, random.Random(seed))


def killed(store: Store, server: Postgres | None, last: int, after: bool, seed: int) -> list[str]:
    """What a writer said until its end; where no statement is its last, the server is killed under it, and then the writer."""
    reading, writing = _fork.Pipe(duplex=False)
    writer = _fork.Process(target=_life, args=(writing, store, last, after, seed))
    writer.start()
    writing.close()
    if not last:
        assert server is not None
        time.sleep(random.Random(seed).uniform(0.3, 1.2))
        server.kill()
        writer.kill()
        server.start()
    with os.fdopen(os.dup(reading.fileno())) as said:
        lines = said.read().splitlines()
    reading.close()
    lines = lines if not lines or last else [line for line in lines if line.split()[0] != "at"]
    writer.join(60)
    if writer.exitcode != -signal.SIGKILL:
        raise RuntimeError(f"the writer ended by itself, {writer.exitcode}: {lines[-3:]}")
    return lines


def main() -> None:
    """Kill, look, go on."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("kills", nargs="?", type=int, default=2 * STEPS)
    args.add_argument("--seed", type=int, default=5)
    given = args.parse_args()
    found: dict[str, Any] = {"kills": 0, "kills_of_the_server": 0, "acknowledged_blocks": 0, "lost": 0, "duplicated": 0,
                             "inconsistent_checkpoints": 0, "checkpoints": 0, "findings": 0}
    places: Counter[str] = Counter()
    roots: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder) / "server") if postgres_programs() is not None else None
        plan = [("SQLite", None, given.kills, STEPS)]
        if server is not None:
            plan += [("PostgreSQL", server, given.kills // 4, STEPS // 4), ("the server", server, given.kills // 8, 0)]
        for what, where, kills, steps in plan:
            with step(f"{what}: {kills} kills"):
                for i in range(kills):
                    if i % SAME == 0:
                        name = f"{what.split()[-1].lower()}_{i}"
                        store, roots = Store(Path(folder) / name, where.url(f"crash_{name}") if where else ""), {}
                        store.folder.mkdir()
                    lines = killed(store, where, i // 2 % steps + 1 if steps else 0, bool(i % 2), given.seed * 1_000_000 + i)
                    places.update(f"{what}: {line.removeprefix('at ')}" for line in lines if line.startswith("at "))
                    _look(store, lines, roots, found)
                    found["kills"] += 1
                    found["kills_of_the_server"] += not steps
        if server is not None:
            server.stop()
    write("ledger_crash", {**found, "places": dict(sorted(places.items()))})
    if found["lost"] or found["duplicated"] or found["inconsistent_checkpoints"] or found["findings"]:
        sys.exit(1)


def _look(store: Store, lines: list[str], roots: dict[int, str], found: dict[str, Any]) -> None:
    """The ledger after a kill: everything acknowledged, nothing twice, one tree."""
    told_entries = [int(line.split()[1]) for line in lines if line.startswith("entry ")]
    last = max(told_entries, default=0)
    ledger = store.open(read_only=True)
    seqs = [entry.seq for entry in ledger.scan()]
    found["lost"] += max(0, last - len(seqs))
    found["duplicated"] += len(seqs) - len(set(seqs))
    found["acknowledged_blocks"] += len(told_entries)
    told = {int(line.split()[1]): line.split()[2] for line in lines if line.startswith("checkpoint ")}
    kept = {p.size: Checkpoint.parse(note.parse(p.note).text).root.hex() for p in ledger.log.checkpoints()}
    for size, root in [*told.items(), *kept.items()]:
        found["inconsistent_checkpoints"] += roots.setdefault(size, root) != root
    found["inconsistent_checkpoints"] += sum(size not in kept for size in told)
    found["checkpoints"] += len(told)
    findings = audit(ledger, POLICY).findings if kept else []  # before the first checkpoint there is nothing to hold it against
    found["findings"] += len(findings)
    for finding in findings[:3]:
        print(finding, file=sys.stderr)
    ledger.close()


if __name__ == "__main__":
    main()
