"""Two processes decide on one PostgreSQL ledger, half of their events the same: each event is decided once, both callers hear the
same, and features are those of one undisturbed writer. Writes ``out/bench/two_writers.json``.

Usage: python -m benchmarks.ledger.writers [--events N each]
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from services.postgres import Postgres

from benchmarks.common import step, write
from benchmarks.ledger.erasure import payment, trained
from flightworthy.decision.engine import Engine
from flightworthy.decision.record import entries_of
from flightworthy.decision.replay import replay
from flightworthy.governance.ledger import DECISION
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.policy import Policy
from flightworthy.ground.clock import ManualClock
from flightworthy.integration.contract import Rejection
from flightworthy.manifest.load import load

_BATCH = 200
_NOW = 1_790_000_000_000_000


def decide(folder: Path, var: Path, who: int, count: int, ready: Any, told: Any) -> None:
    """One writer: two of every three events."""
    engine = Engine.open(load(folder), var, ManualClock(_NOW), snapshots=False)
    rng = random.Random(1)
    events = [payment(i, rng) for i in range(count * 3 // 2)]
    mine = [raw for i, raw in enumerate(events) if i % 3 != (2, 0)[who]]
    ready.wait()
    heard: dict[str, bytes] = {}
    refused, started = 0, time.perf_counter()
    for i in range(0, len(mine), _BATCH):
        for result in engine.decide(mine[i : i + _BATCH]):
            if isinstance(result, Rejection):
                refused += 1
            else:
                heard[result.id] = sha256(entries_of([result]).contents[0]).digest()
    told.put((who, heard, refused, time.perf_counter() - started))
    engine.close()


def main() -> None:
    """Decide, compare, write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--events", type=int, default=100_000, help="of each writer; half of them are the other's too")
    given = args.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        server = Postgres(Path(place) / "server")
        with step("training"):
            pilot, var = trained(Path(place), f"adapters: {{ledger: '{server.url()}'}}\n")
        Engine.open(pilot, var, snapshots=False).close()  # the schema, the keys
        ready, told = context.Barrier(2), context.Queue()
        writers = [context.Process(target=decide, args=(pilot.folder, var, who, given.events, ready, told)) for who in range(2)]
        with step("two writers"):
            for writer in writers:
                writer.start()
            said = sorted((told.get(timeout=1200) for _ in writers), key=lambda each: each[0])
            for writer in writers:
                writer.join()
        engine = Engine.open(pilot, var, snapshots=False)
        with step("looking"):
            keys = [entry.key for entry in engine.ledger.scan(1, (DECISION,))]
            heard = [each[1] for each in said]
            shared = heard[0].keys() & heard[1].keys()
            assert engine.publisher is not None
            engine.publisher.publish()
            found = audit(engine.ledger, Policy([signer.verifier for signer in engine.publisher._signers]))
            again = replay(pilot, engine.ledger, var / "models", vault=engine.vault)
        engine.close()
        server.stop()
    expected = given.events * 3 // 2
    result = {"events_each": given.events, "shared": len(shared), "distinct": len(heard[0].keys() | heard[1].keys()),
              "entries": len(keys), "doubled": len(keys) - len(set(keys)), "lost": expected - len(set(keys)),
              "refused": sum(each[2] for each in said), "answers_that_differ": sum(heard[0][k] != heard[1][k] for k in shared),
              "replay_mismatches": again.mismatches, "audit_findings": len(found.findings),
              "decisions_per_second": expected / max(each[3] for each in said)}
    write("two_writers", result)
    if any(result[k] for k in ("doubled", "lost", "refused", "answers_that_differ", "replay_mismatches", "audit_findings")):
        sys.exit(1)


if __name__ == "__main__":
    main()
