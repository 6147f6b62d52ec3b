"""The worker of a stream."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightworthy.cli.pilots import rooms, say
from flightworthy.decision.rooms import check_split
from flightworthy.ground import registry
from flightworthy.ground.clock import SystemClock
from flightworthy.ground.errors import DataError
from flightworthy.integration.streams import Sink, Stream
from flightworthy.manifest.load import load
from flightworthy.operation.worker.lane import Setting
from flightworthy.operation.worker.worker import Worker


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
    from flightworthy.cli.run import instant
    from flightworthy.operation.service.logs import to_stderr

    pilot = load(path)
    found = {kind: urls.get(kind) or getattr(pilot.manifest.adapters, kind) for kind in
             ("events", "outcomes", "decisions", "dead_letters")}
    if not found["events"]:
        raise DataError("no stream to read", expected="adapters.events in the manifest, or --events", found="nothing")
    to_stderr()
    clock = SystemClock()
    remembered = clock.now() if options.history == "now" else instant(options.history or None)
    stream: Stream = registry.find("streams", found["events"])(found["events"], outcomes=found["outcomes"], group=pilot.name,
                                                               skip_missing=options.skip_missing)
    check_split(pilot, stream.partitions)
    name = options.name or f"{socket.gethostname()}-{os.getpid()}"
    setting = Setting(pilot, rooms(pilot, var), clock, name, secrets.randbits(62),
                      -(2**62) if remembered is None else remembered)
    worker = Worker(setting, stream, _sink(found["decisions"], setting.base), _sink(found["dead_letters"], setting.base))
    if options.metrics:
        from flightworthy.operation.worker.metrics import expose

        expose(worker, options.metrics)
    report = worker.run(_stop(worker, options.until_idle))
    say(f"{report.decisions} decisions, {report.outcomes} outcomes, {report.repeated} repeated, "
        f"{report.quarantined} to quarantine; {report.takeovers} partitions taken up, "
        f"{report.republished} decisions published again")


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

