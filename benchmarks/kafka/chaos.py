"""Two workers on a real Kafka, killed, paused, joined by a third, their broker and their ledger taken away, in random order: each
event is decided once, told at least once and always the same, with the features of one undisturbed worker.

Usage: python -m benchmarks.kafka.chaos [--plans N] [--events N] [--first SEED]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.kafka import Kafka
from services.postgres import Postgres

from benchmarks.common import on_disk, step, write
from benchmarks.kafka.looking import Found, dead_letters, decided, displaced, told
from benchmarks.kafka.setting import pilot_with, trained
from benchmarks.kafka.traffic import payments, produce

PARTITIONS = 4
_SESSION = 6.0  # seconds after which the group misses a member
_PATIENCE = 400.0  # seconds for one plan
WRONG = ("lost", "duplicated", "feature_mismatches", "unpublished", "published_differently", "dead_letters_missing",
         "quarantine_differs", "stuck")
FAULTS = ("kill", "add", "pause", "broker", "ledger")


@dataclass
class Workers:
    """The processes of one plan."""

    manifest: Path
    var: Path
    urls: list[str]
    log: Path
    alive: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    made: int = 0

    def add(self) -> str:
        """One more."""
        self.made += 1
        name = f"worker-{self.made}"
        with self.log.open("ab") as out:
            self.alive[name] = subprocess.Popen(
                [sys.executable, "-m", "flightworthy", "stream", str(self.manifest), "--var", str(self.var), "--name", name,
                 *self.urls], stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return name

    def end(self) -> None:
        """In order; what does not hear it, is killed."""
        for process in self.alive.values():
            process.terminate()
        for process in self.alive.values():
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.alive.clear()


@dataclass
class Servers:
    """What the workers need."""

    kafka: Kafka
    postgres: Postgres
    folder: Path


@dataclass
class Plan:
    """What happened: name, who or "", and the instant in seconds since 1970."""

    seed: int
    faults: list[tuple[str, str, float]] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)  # of broker or ledger: from when to when
    alone: set[float] = field(default_factory=set)  # when the only worker there was went to sleep: nobody could take over

    def run(self, servers: Servers, workers: Workers, done: Any) -> bool:
        """All faults, then wait until everything is decided; false when that took too long."""
        rng = random.Random(self.seed)
        order = rng.sample(FAULTS, len(FAULTS))
        end = time.monotonic() + _PATIENCE
        for fault in order:
            time.sleep(rng.uniform(1.0, 9.0))
            who = rng.choice(sorted(workers.alive)) if fault in ("kill", "pause") else ""
            self.faults.append((fault, who, time.time()))
            getattr(self, f"_{fault}")(servers, workers, who, rng)
        while not done():
            if time.monotonic() > end or not any(p.poll() is None for p in workers.alive.values()):
                return False
            time.sleep(0.25)
        return True

    def _kill(self, servers: Servers, workers: Workers, who: str, rng: random.Random) -> None:
        process = workers.alive.pop(who)
        process.kill()
        process.wait()
        if not workers.alive:
            workers.add()

    def _add(self, servers: Servers, workers: Workers, who: str, rng: random.Random) -> None:
        workers.add()

    def _pause(self, servers: Servers, workers: Workers, who: str, rng: random.Random) -> None:
        if len(workers.alive) == 1:
            self.alone.add(self.faults[-1][2])
        workers.alive[who].send_signal(signal.SIGSTOP)
        time.sleep(_SESSION + rng.uniform(1.0, 4.0))
        workers.alive[who].send_signal(signal.SIGCONT)

    def _broker(self, servers: Servers, workers: Workers, who: str, rng: random.Random) -> None:
        began = time.time()
        servers.kafka.kill() if rng.random() < 0.5 else servers.kafka.stop()
        servers.kafka.start()
        self.outages.append((began, time.time()))

    def _ledger(self, servers: Servers, workers: Workers, who: str, rng: random.Random) -> None:
        began = time.time()
        servers.postgres.kill() if rng.random() < 0.5 else servers.postgres.stop()
        time.sleep(rng.uniform(0.5, 8.0))  # longer than a commit waits, at times
        servers.postgres.start()
        self.outages.append((began, time.time()))

    def disturbed(self, since: float, until: float) -> bool:
        """Whether anything else happened in between."""
        return any(since < at <= until for _, _, at in self.faults) or any(a <= until and b > since for a, b in self.outages)


def main() -> None:
    """Run the plans, write ``out/bench/stream_chaos.json``."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--plans", type=int, default=50)
    args.add_argument("--events", type=int, default=1_000_000)
    args.add_argument("--first", type=int, default=1, help="seed of the first plan")
    given = args.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # nothing that was started is left behind
    with tempfile.TemporaryDirectory(dir=on_disk()) as place:
        folder = Path(place)
        servers = Servers(Kafka(folder / "kafka"), Postgres(folder / "postgres"), folder)
        try:
            write("stream_chaos", run(servers, given))
        finally:
            servers.kafka.stop()
            servers.postgres.stop("immediate")


def run(servers: Servers, given: argparse.Namespace) -> dict[str, Any]:
    """All plans against the reference."""
    with step("training"):
        trained(servers.folder / "var")
    for topic in ("payments", "told"):
        servers.kafka.topic(topic, PARTITIONS)
    with step("messages"):
        sent = produce(servers.kafka.servers, payments(given.events), "payments", "told")
    with step("the reference: one worker, nothing happens"):
        reference, *_ = one(servers, "reference", None)
    found: list[dict[str, Any]] = []
    for seed in range(given.first, given.first + given.plans):
        with step(f"plan {seed}"):
            found.append(judged(servers, reference, Plan(seed)))
        print({name: value for name, value in found[-1].items() if value}, file=sys.stderr)
        write("stream_chaos", told_of(reference, found, sent, given))  # so that a run that is cut short has something to show
    return told_of(reference, found, sent, given)


def told_of(reference: list[Found], found: list[dict[str, Any]], sent: tuple[int, int],
            given: argparse.Namespace) -> dict[str, Any]:
    """All plans so far."""
    takeovers, beside, resumed = (sorted(t for one in found for t in one[name]) for name in (
        "takeovers_s", "takeovers_beside_other_faults_s", "resumed_s"))
    return {
        "plans": len(found), "events": given.events, "messages": sent[0], "outcomes": sent[1], "partitions": PARTITIONS,
        "decisions": sum(f.decisions for f in reference), "quarantined": sum(len(f.quarantined) for f in reference),
        **{name: sum(one[name] for one in found) for name in (*WRONG, "published_again", "faults")},
        "takeover_s_median": statistics.median(takeovers) if takeovers else None,
        "takeover_s_max": max(takeovers, default=None), "takeovers": len(takeovers),
        "takeovers_beside_other_faults": len(beside), "takeover_beside_other_faults_s_max": max(beside, default=None),
        "resumed_s_median": statistics.median(resumed) if resumed else None, "resumed_s_max": max(resumed, default=None),
        "seconds_median": statistics.median(one["seconds"] for one in found), "by_plan": found}


Run = tuple[list[Found], dict[str, Any], set[tuple[str, int, str]], float, bool]


def one(servers: Servers, name: str, plan: Plan | None) -> Run:
    """One run with its own ledgers and topics: what the ledgers hold, what was told, the dead letters, seconds, whether it
    ended."""
    kafka, var = servers.kafka, servers.folder / name
    shutil.copytree(servers.folder / "var", var)
    manifest = pilot_with(var, ledger=servers.postgres.url(name), name=name)
    urls = ["--events", kafka.url(f"payments?group={name}"), "--outcomes", kafka.url("told"),
            "--decisions", kafka.topic(f"{name}-decisions", PARTITIONS),
            "--dead-letters", kafka.topic(f"{name}-dead", PARTITIONS)]
    workers, started = Workers(manifest, var, urls, servers.folder / f"{name}.log"), time.monotonic()
    for _ in range(1 if plan is None else 2):
        workers.add()
    try:
        ended = (plan or _Quiet()).run(servers, workers, lambda: finished(kafka.servers, name))
        seconds = time.monotonic() - started
    finally:
        workers.end()
    shutil.copy(workers.log, log_of(name))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        looked = [pool.submit(decided, manifest, var, number, PARTITIONS) for number in range(PARTITIONS)]
        heard, letters = told(kafka.servers, f"{name}-decisions"), dead_letters(kafka.servers, f"{name}-dead")
        ledgers = [one.result() for one in looked]
    kafka.forget(f"{name}-decisions", f"{name}-dead")
    shutil.rmtree(var)
    return ledgers, heard, letters, seconds, ended


def log_of(name: str) -> Path:
    """What the workers of a plan said; kept where something went wrong."""
    return on_disk() / f"stream_chaos_{name}.log"


class _Quiet(Plan):
    """Nothing happens."""

    def __init__(self) -> None:
        super().__init__(0)

    def run(self, servers: Servers, workers: Workers, done: Any) -> bool:
        while not done():
            time.sleep(0.25)
        return True


def finished(servers: str, group: str) -> bool:
    """Whether the group says that it decided all there is."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
    try:
        parts = [TopicPartition("payments", number) for number in range(PARTITIONS)]
        at = {one.partition: one.offset for one in consumer.committed(parts, timeout=5)}
        return all(consumer.get_watermark_offsets(part, timeout=5)[1] == at[part.partition] for part in parts)
    except KafkaException:  # the broker is away
        return False
    finally:
        consumer.close()


def judged(servers: Servers, reference: list[Found], plan: Plan) -> dict[str, Any]:
    """A plan and what became of it."""
    ledgers, heard, letters, seconds, ended = one(servers, f"plan{plan.seed}", plan)
    happened = [f"{fault} {who} {at:.3f}" for fault, who, at in plan.faults]
    out: dict[str, Any] = {"seed": plan.seed, "order": happened, "faults": len(plan.faults),
                           "seconds": round(seconds, 1), "stuck": int(not ended)}
    out = {**dict.fromkeys(WRONG, 0), "published_again": 0, **out}
    for expected, found in zip(reference, ledgers, strict=True):
        out["lost"] += len(expected.features.keys() - found.features.keys())
        out["duplicated"] += found.decisions - len(found.features)
        out["feature_mismatches"] += sum(found.features[name] != bits for name, bits in expected.features.items()
                                         if name in found.features) + (expected.order != found.order)
        if expected.order != found.order:
            out.setdefault("displaced", []).append(displaced(expected.order, found.order))
        if apart := found.apart(expected):
            out.setdefault("apart", []).append({"partition": ledgers.index(found), **apart})
        out["quarantine_differs"] += len(expected.quarantined ^ found.quarantined)
        out["dead_letters_missing"] += len(found.quarantined - letters)
        for name, bits in found.answers.items():
            said = heard.get(name)
            out["unpublished"] += said is None
            out["published_differently"] += said is not None and (said.different or said.bits != bits)
            out["published_again"] += 0 if said is None else said.times - 1
    moments = [(at, found.takeover(who, at)) for fault, who, at in plan.faults if fault in ("kill", "pause") for found in ledgers]
    for name, wanted in (("takeovers_s", False), ("takeovers_beside_other_faults_s", True)):
        out[name] = [round(s, 2) for at, s in moments
                     if s is not None and at not in plan.alone and plan.disturbed(at, at + s) == wanted]
    out["slept_alone_s"] = [round(s, 2) for at, s in moments if s is not None and at in plan.alone]
    if not any(out[name] for name in WRONG) and not os.environ.get("KEEP_LOGS"):
        log_of(f"plan{plan.seed}").unlink()
    backs = [(back, found.resumed(back)) for _, back in plan.outages for found in ledgers]
    out["resumed_s"] = [round(s, 2) for at, s in backs if s is not None and not plan.disturbed(at, at + s)]
    return out


if __name__ == "__main__":
    main()
