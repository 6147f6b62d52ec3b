"""Erases a thousand people in a ledger of a million decisions, then looks for them: in every file, in the log ahead, in free
pages, in what is compressed; and checks every proof that was handed out before. Writes ``out/bench/erasure.json``.

Usage: python -m benchmarks.ledger.erasure [--decisions N] [--subjects N]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import on_disk, step, write
from flightworthy.decision.engine import Engine
from flightworthy.decision.learn import Labelled
from flightworthy.decision.people import erase
from flightworthy.decision.replay import replay
from flightworthy.governance.ledger import DECISION
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.disclosure import check, prove
from flightworthy.governance.log.policy import Policy
from flightworthy.ground.clock import ManualClock
from flightworthy.manifest.load import load
from flightworthy.operation import learn

_START, _SPACING = 1_780_000_000, 20  # seconds
_PEOPLE = 20_000
_MARKS = re.compile(rb"(?:name|mail|unit|note)-[0-9a-f]{12}")  # whatever is private of anyone here looks like this
_BATCH = 8192


def person(i: int) -> str:
    """A name with a shape that can be searched for."""
    return f"name-{random.Random(f'person {i}').getrandbits(48):012x}"


def payment(i: int, rng: random.Random) -> bytes:
    """One event of the stream."""
    who = int(rng.paretovariate(0.6)) % _PEOPLE if rng.random() < 0.5 else rng.randrange(_PEOPLE)
    mark = person(who).partition("-")[2]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_START + i * _SPACING))
    return json.dumps({"payment": f"p{i}", "at": at, "person_id": f"name-{mark}", "shop_id": rng.randrange(500),
                       "amount": round(rng.lognormvariate(3, 1), 2), "email": f"mail-{mark}@example.org",
                       "device": f"unit-{mark}",
                       "note": f"note-{mark}" if i % 3 else None, "age": 18 + who % 70}).encode()


def payments(first: int, count: int) -> Iterator[list[bytes]]:
    """Batches; every thousandth record does not fit the contract and goes to quarantine."""
    rng = random.Random(first)
    for start in range(first, first + count, _BATCH):
        batch = [payment(i, rng) for i in range(start, min(start + _BATCH, first + count))]
        batch += [raw.replace(b'"amount": ', b'"amount": -1') for raw in batch[::1000]] + [raw[:-20] for raw in batch[::3000]]
        yield batch


def trained(folder: Path, more: str = "", private: bool = True) -> tuple[Any, Path]:
    """The pilot and its rooms, with a model; ``more`` is put at the end of its manifest."""
    pilot_folder = folder / "people"
    pilot_folder.mkdir()
    text = (Path(__file__).parent / "people.yaml").read_text()
    (pilot_folder / "pilot.yaml").write_text((text if private else text.partition("privacy:")[0]) + more)
    pilot, rng, var = load(pilot_folder), random.Random(1), folder / "var"
    past = [Labelled(payment(10 * i - 210_000, rng), float(rng.random() < 0.05)) for i in range(20_000)]
    learn.learn(pilot, past, var, (_START - 86_400) * 1_000_000)
    return pilot, var


def traces(var: Path, engine: Engine, wrapped: list[bytes]) -> dict[str, int]:
    """What can still be read of anyone: in bytes of files, in compressed records; and keys that were destroyed."""
    found = {"in_files": 0, "in_records": 0, "keys": 0}
    for file in var.rglob("*"):
        if file.is_file() and file.parent.name != "keys":
            content = file.read_bytes()
            found["in_files"] += len(_MARKS.findall(content))
            if file.name.startswith("ledger"):
                found["keys"] += sum(content.find(key[:20]) >= 0 for key in wrapped)
    for entry in engine.ledger.scan():
        found["in_records"] += len(_MARKS.findall(entry.content)) + len(_MARKS.findall(entry.key.encode()))
    return found


def opened(engine: Engine) -> int:
    """What the search finds in records that are opened: it would find them on the disk as well, were they there."""
    return sum(len(_MARKS.findall(repr(engine.line.records.read(entry)).encode()))
               for entry in islice(engine.ledger.scan(1, (DECISION,)), 1000))


def main() -> None:
    """Measure, print, write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--decisions", type=int, default=1_000_000)
    args.add_argument("--subjects", type=int, default=1000)
    given = args.parse_args()
    with tempfile.TemporaryDirectory(dir=on_disk()) as place:
        with step("training"):
            pilot, var = trained(Path(place))
        engine = Engine.open(pilot, var, ManualClock((_START + given.decisions * _SPACING) * 1_000_000))
        assert engine.publisher is not None and engine.vault is not None
        trusted = Policy([signer.verifier for signer in engine.publisher._signers])
        with step(f"{given.decisions:,} decisions"):
            started = time.perf_counter()
            for batch in payments(0, given.decisions):
                engine.decide(batch)
            decided = time.perf_counter() - started
        engine.publisher.publish()
        engine.save()
        known = sorted(engine.vault.find([person(i) for i in range(_PEOPLE)]))
        rows = engine.vault.find(random.Random(2).sample(known, given.subjects))
        with step("proofs before"):
            theirs = [e.seq for e in engine.ledger.scan(1, (DECISION,))]
            seqs = sorted(random.Random(3).sample(theirs, min(2000, len(theirs))))
            proofs = [prove(engine.ledger, engine.ledger.read([seq])[0]) for seq in seqs]
        backup = Path(place) / "backup.db"
        shutil.copy(var / "ledger.db", backup)
        with step(f"erasing {len(rows):,}"):
            started = time.perf_counter()
            done = erase(engine, list(rows), "bench", "asked")
            seconds = time.perf_counter() - started
        with step("looking for them"):
            found = traces(var, engine, [row.wrapped for row in rows.values()])
        control = opened(engine)
        broken = sum(not _holds(proof, trusted) for proof in proofs)
        engine.publisher.publish()
        with step("verifying, replaying"):
            verified = audit(engine.ledger, trusted)
            again = replay(pilot, engine.ledger, var / "models", vault=engine.vault)
        content = backup.read_bytes()
        kept = any(content.find(row.wrapped[:20]) >= 0 for row in rows.values())
        engine.close()
        recovered = Engine.open(pilot, var, snapshots=False)
        words = set(recovered.state.interners["person_id"].words())
        recovered.close()
    write("erasure", {
        "subjects": done.erased, "decisions": len(theirs), "proofs_checked": len(proofs), "proofs_broken": broken,
        "plaintext_found": found["in_files"] + found["in_records"], "plaintext_in_files": found["in_files"],
        "plaintext_in_records": found["in_records"], "found_in_1000_opened_records": control,
        "destroyed_keys_found": found["keys"], "seconds": seconds,
        "records_unreadable": again.erased, "replayed": again.decisions, "replay_mismatches": again.mismatches,
        "quarantine_emptied": done.quarantine, "audit_findings": len(verified.findings),
        "backups_made_before_that_hold_their_keys": kept, "people_remembered_after_recovery": len(
            [word for word in words if not str(word).startswith("\0")]),
        "decisions_per_second_private": len(theirs) / decided})
    if broken or any(found.values()) or again.mismatches or not verified.fine or not control:
        raise SystemExit("something is left of them, or a proof broke")


def _holds(proof: bytes, trusted: Policy) -> bool:
    from flightworthy.ground.errors import ProofError

    try:
        check(proof, trusted)
    except ProofError:
        return False
    return True


if __name__ == "__main__":
    main()
