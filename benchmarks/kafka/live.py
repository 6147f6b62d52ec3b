"""Payments that come one by one: how late their decisions are, by how many come in a second, and how many are too many."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from services.kafka import Kafka

from benchmarks.kafka.looking import everything
from benchmarks.kafka.running import PARTITIONS, Bare, Workers, count

_SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the rate from a backlog
_LONG, _GENTLE = 60, 0.3  # seconds at that share before anything is measured: a broker's virtual machine compiles for so long
_SETTLE = 5  # seconds of each step that do not count
_BEHIND = 1.0  # seconds after the last payment, within which a step's last decision is out where a rate is kept up with
_GROWS_MS = 100  # from the first third of a step to its last, at most: else a queue grows that was not long enough to be seen yet
_PATIENCE = 60.0
_RUNS = 3

Start = Callable[[str], Workers | Bare]


def capacity(kafka: Kafka, folder: Path, name: str, number: int, backlog: float, seconds: int) -> dict[str, Any]:
    """Latency by load: ever more payments a second, with broker and sender on the same processors, until they are too many. The
    most that is kept up with is what these workers can do while they are being sent to."""
    def start(name: str) -> Workers:
        return Workers(kafka, folder, name, number, name)

    live(kafka, folder, f"{name}-warm", start, [int(_GENTLE * backlog)], _LONG)
    found = live(kafka, folder, f"{name}-load", start, [int(share * backlog) for share in _SHARES], seconds)
    kept = [one["rate"] for one in found if one["kept_up"]]
    if not kept:
        raise RuntimeError(f"{name} does not even keep up with {found[0]['rate']} payments a second")
    return {"by_load": found, "kept_up_per_second": kept[-1]}


def halfway(kafka: Kafka, folder: Path, name: str, number: int, rate: int, seconds: int) -> dict[str, Any]:
    """Medians of several runs: of one alone the machine's other moments decide. After each the loop that does nothing gets the
    same."""
    found, floor = [], []
    for one in (f"{name}-half{n}" for n in range(_RUNS)):
        found += live(kafka, folder, one, lambda name: Workers(kafka, folder, name, number, name), [rate], seconds)
        floor += live(kafka, folder, f"{one}-bare", lambda name: Bare(kafka, name), [rate], seconds)
    out: dict[str, Any] = {key: statistics.median(one[key] for one in found) for key in ("latencies", "sender_late_ms")}
    for key in ("p50_ms", "p99_ms", "p999_ms", "idle_share"):
        out[f"{key}_at_50"] = statistics.median(one[key] for one in found)
    out |= {f"bare_{key}_at_50": statistics.median(one[key] for one in floor) for key in ("p50_ms", "p99_ms")}
    return out | {"half_rate": rate, "p99_ms_of_each_run": [one["p99_ms"] for one in found],
                  "bare_p99_ms_of_each_run": [one["p99_ms"] for one in floor]}


def live(kafka: Kafka, folder: Path, name: str, start: Start, rates: Iterable[int], seconds: int) -> list[dict[str, Any]]:
    """Of each rate in turn, until one is not kept up with. Latency goes from the instant at which a payment was due to its
    decision in the broker, by the broker's clock."""
    kafka.topic(name, PARTITIONS)
    workers, found, sent = start(name), list[dict[str, Any]](), 0
    try:
        time.sleep(8)  # until they have joined
        for rate in rates:
            one = at_rate(kafka, name, rate, seconds + _SETTLE, sent)
            sent += rate * (seconds + _SETTLE)
            one["behind_s"] = behind(kafka, f"{name}-out", sent)
            found.append(one | {"kept_up": one["behind_s"] <= _BEHIND})
            if not found[-1]["kept_up"]:
                break
    finally:
        workers.end()
    due, told = instants(kafka.servers, name, sent, event_id), instants(kafka.servers, f"{name}-out", sent, decision_id)
    ends = list(accumulate(one["rate"] * (seconds + _SETTLE) for one in found))
    for one, end in zip(found, ends, strict=True):
        counted = slice(end - one["rate"] * seconds, end)
        took = told[counted] - due[counted]
        one.update(latencies(took), grows_ms=grows(took))
        one["kept_up"] = one["kept_up"] and one["grows_ms"] <= _GROWS_MS
    shutil.rmtree(folder / name, ignore_errors=True)
    kafka.forget(name, f"{name}-out")
    return found


def at_rate(kafka: Kafka, name: str, rate: int, seconds: int, first: int) -> dict[str, Any]:
    """So many payments a second for so many seconds."""
    sender = subprocess.Popen([sys.executable, "-m", "benchmarks.kafka.steady", kafka.servers, name, str(rate), str(seconds),
                               str(first)], stdout=subprocess.PIPE, text=True)
    late, idle = watched(sender, 2.0 * _SETTLE, seconds + 120)
    return {"rate": rate, "sender_late_ms": late, "idle_share": idle}


def behind(kafka: Kafka, topic: str, sent: int) -> float:
    """Seconds until there is a decision of each. Raises `TimeoutError`."""
    began = time.monotonic()
    while count(kafka, topic) < sent:
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError(f"{sent - count(kafka, topic)} decisions are missing in {topic}")
        time.sleep(0.05)
    return time.monotonic() - began


def instants(servers: str, topic: str, sent: int, name: Callable[[bytes], bytes]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The broker's stamp of what was first said of each payment (sent), milliseconds."""
    out = np.zeros(sent, np.int64)
    for message in everything(servers, topic):
        place = int(name(message.value())[1:])
        out[place] = out[place] or message.timestamp()[1]
    if not out.all():
        raise RuntimeError(f"{np.count_nonzero(out == 0)} of {sent} are missing in {topic}")
    return out


def latencies(took: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    """Milliseconds (n): of 50, 99 and 99.9 of 100 at most."""
    took = np.sort(took)
    return {"latencies": len(took)} | {f"p{name}_ms": int(took[int(len(took) * share)])
                                       for name, share in (("50", 0.5), ("99", 0.99), ("999", 0.999))}


def grows(took: np.ndarray[Any, np.dtype[np.int64]]) -> int:
    """Milliseconds by which half of the last third took longer than half of the first, payments in the order they were due."""
    third = len(took) // 3
    return int(np.median(took[-third:]) - np.median(took[:third]))


def watched(sender: subprocess.Popen[str], warm: float, patience: float) -> tuple[float, float]:
    """Milliseconds a sender says that it was late at most; share of the processors that nobody used, from so many seconds after
    its start until it ends."""
    try:
        time.sleep(warm)
        before = processors()
        said, _ = sender.communicate(timeout=patience)
    except BaseException:
        sender.kill()
        raise
    if sender.returncode:
        raise RuntimeError(f"the sender ended with {sender.returncode}")
    idle, total = (now - then for now, then in zip(processors(), before, strict=True))
    return float(said), idle / total


def processors() -> tuple[int, int]:
    """Ticks of all processors since the machine started: those that nobody used, and all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def event_id(value: bytes) -> bytes:
    """Of a payment."""
    return value[19 : value.index(b'"', 19)]


def decision_id(value: bytes) -> bytes:
    """Of a decision."""
    return value[7 : value.index(b'"', 7)]
