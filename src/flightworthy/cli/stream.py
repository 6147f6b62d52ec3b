"""The worker of a stream."""

from __future__ import annotations

import faulthandler
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightworthy.cli.pilots import rooms, say
from flightworthy.decision.rooms import check_split
from flightworthy.ground import registry
from flightworthy.ground.clock import Clock, SystemClock
from flightworthy.ground.errors import DataError
from flightworthy.integration.streams import Sink, Stream
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.worker.lane import Setting
from flightworthy.operation.worker.worker import Worker

# Seconds after which a thread that computes lets another one go on. Python's own are five milliseconds: so long whoever reads a
# ledger beside others waited after every answer of the store, altogether ten times as long as reading takes.
_SWITCH = 0.001


@dataclass(frozen=True)
class Options:
    """What the command line says of a worker."""

    history: str = ""
    until_idle: float | None = None
    name: str = ""
    metrics: str = ""
    skip_missing: bool = False


def run(path: Path, var: Path | None, urls: dict[str, str], options: Options) -> None:
    """Until told to end, or until nothing came for a while."""
    from flightworthy.operation.service.logs import to_stderr

    pilot = load(path)
    found = _urls(pilot, urls)
    to_stderr()
    sys.setswitchinterval(_SWITCH)
    faulthandler.register(signal.SIGUSR1)  # who wonders what a worker does hears where its threads are
    clock = SystemClock()
    remembered = _remembered(options.history, clock)
    stream: Stream = registry.find("streams", found["events"])(found["events"], outcomes=found["outcomes"], group=pilot.name,
                                                               skip_missing=options.skip_missing)
    check_split(pilot, stream.partitions)
    name = options.name or f"{socket.gethostname()}-{os.getpid()}"
    setting = Setting(pilot, rooms(pilot, var), clock, name, secrets.randbits(62),
                      remembered)
    worker = Worker(setting, stream, _sink(found["decisions"], setting.base), _sink(found["dead_letters"], setting.base))
    if options.metrics:
        from flightworthy.operation.worker.metrics import expose

        expose(worker, options.metrics)
    report = worker.run(_stop(worker, options.until_idle))
    counts = report.counts
    say(f"{counts.decisions} decisions, {counts.outcomes} outcomes, {counts.repeated} repeated, "
        f"{sum(counts.quarantined.values())} to quarantine; {report.takeovers} partitions taken up, "
        f"{report.republished} decisions published again")


def submit(path: Path, var: Path | None, urls: dict[str, str], engine: str, options: Options) -> None:
    """Have a cluster of another engine do it."""
    from flightworthy.operation.flink import job

    if given := [f"--{what.replace('_', '-')}" for what in ("name", "metrics", "skip_missing") if getattr(options, what)]:
        raise DataError("these are of a worker, not of Flink", found=", ".join(given), next_step="leave them out")
    pilot = load(path)
    told = job.submit(path, rooms(pilot, var), _urls(pilot, urls), engine, bounded=options.until_idle is not None,
                      history_until=_remembered(options.history, SystemClock()))
    say(f"job {told}")


def check_no_entries(url: str) -> None:
    """Raises `DataError` where a worker, whose ledger has them, is asked for a topic of entries."""
    if url:
        raise DataError("a worker's entries are in its ledger", found="--entries", expected="--engine flink beside it",
                        next_step="flightworthy export reads them from the ledger")


def _urls(pilot: Pilot, given: dict[str, str]) -> dict[str, str]:
    """Of the command line, or else of the manifest. Raises `DataError`."""
    found = {kind: url or getattr(pilot.manifest.adapters, kind, "") for kind, url in given.items()}
    if not found["events"]:
        raise DataError("no stream to read", expected="adapters.events in the manifest, or --events", found="nothing")
    return found


def _remembered(history: str, clock: Clock) -> int:
    """Until when the broker's records are remembered only, microseconds."""
    from flightworthy.cli.run import instant

    until = clock.now() if history == "now" else instant(history or None)
    return -(2**62) if until is None else until


def _sink(url: str, base: Path) -> Sink | None:
    opened: Sink | None = registry.find("sinks", url)(url, base=base) if url else None
    return opened


def _stop(worker: Worker, until_idle: float | None) -> Callable[[], bool]:
    told = []

    def end(number: int, frame: Any) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return lambda: bool(told) or (until_idle is not None and worker.idle() > until_idle)

