"""The same demonstration on other servers: events through a broker and a worker, ledger and feature state where URLs say."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flightworthy.decision.admission import bytes_of
from flightworthy.decision.engine import Engine
from flightworthy.decision.work import EVENT
from flightworthy.ground import registry
from flightworthy.ground.clock import Clock, SystemClock
from flightworthy.ground.errors import DataError
from flightworthy.integration.sources import Source
from flightworthy.integration.streams import Message, Sink, Stream
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.feed import Lot
from flightworthy.operation.stream import StreamReport
from flightworthy.operation.worker.lane import Setting
from flightworthy.operation.worker.worker import Worker

_QUIET = 1.5  # seconds without anything after which a stream is over
_STEP = 1_000  # microseconds of the broker's time between two records, which keeps their order
_BEGIN = 1_600_000_000_000_000


@dataclass(frozen=True)
class Elsewhere:
    """URLs; empty where the embedded default stays."""

    events: str = ""
    ledger: str = ""
    state: str = ""

    def move(self, pilot: Pilot) -> Pilot:
        """The pilot with these adapters; its manifest means the same. A shared state gets keys of this run's own."""
        state = self.state
        if state and "prefix=" not in state and not state.startswith("file:"):
            state += f"{'&' if '?' in state else '?'}prefix=demo-{secrets.token_hex(4)}"
        changed = {name: url for name, url in (("ledger", self.ledger), ("state", state)) if url}
        adapters = pilot.manifest.adapters.model_copy(update=changed)
        return dataclasses.replace(pilot, manifest=pilot.manifest.model_copy(update={"adapters": adapters}))

    def check(self, engine: Engine) -> None:
        """Raises `DataError` where the ledger is no new one."""
        if engine.ledger.last():
            raise DataError("this ledger holds decisions already", where=self.ledger, found=engine.ledger.last(),
                            next_step="name another, such as ?schema=demo2")

    def decide(self, pilot: Pilot, var: Path, lots: Iterable[Lot], told: Callable[[int], None]) -> StreamReport:
        """Publish all arrivals, and let a worker decide them. Raises `DataError` when the topics are not empty."""
        outcomes = _beside(self.events, "outcomes")
        sinks = [_open_empty(url) for url in (self.events, outcomes)]
        until = _publish(lots, sinks)
        clock: Clock = SystemClock()
        stream: Stream = registry.find("streams", self.events)(self.events, outcomes=outcomes, group=f"{pilot.name}-demo")
        setting = Setting(pilot, var, clock, "demo", secrets.randbits(62), until)
        decisions, dead = (_open_empty(_beside(self.events, what)) for what in ("decisions", "dead"))
        worker = Worker(setting, stream, decisions, dead)
        started = clock.tick()
        done = worker.run(_over(worker, told)).counts
        held = sum(done.quarantined.values())
        return StreamReport(records=done.decisions + held + done.outcomes, decisions=done.decisions,
                            remembered=done.remembered, outcomes=done.outcomes, duplicates=done.repeated,
                            quarantined=held, seconds=(clock.tick() - started) / 1e9 - _QUIET)


def _publish(lots: Iterable[Lot], sinks: list[Sink]) -> int:
    """Write records with a time of the broker's that keeps their order; the time at which the past ends."""
    at, until = _BEGIN, -(2**62)
    for lot in lots:
        out: tuple[list[Message], list[Message]] = ([], [])
        for raw, kind in zip(lot.raws, lot.kinds or [EVENT] * len(lot.raws), strict=True):
            at += _STEP
            out[kind != EVENT].append(Message(b"", bytes_of(raw), stamp=at))
        until = at + _STEP if lot.past else until
        for sink, messages in zip(sinks, out, strict=True):
            sink.send(messages)
    for sink in sinks:
        sink.close()
    return until


def _open_empty(url: str) -> Sink:
    sink: Sink = registry.find("sinks", url)(url, partitions=1)
    source: Source = registry.find("sources", url)(url)
    if source.length():
        raise DataError("this topic holds records already", where=url, found=source.length(), expected="none",
                        next_step="name another topic; it is made")
    return sink


def _beside(url: str, what: str) -> str:
    """A topic named after another."""
    address, mark, query = url.partition("?")
    return f"{address}-{what}{mark}{query}"


def _over(worker: Worker, told: Callable[[int], None]) -> Callable[[], bool]:
    """Whether nothing has come for a while."""
    def over() -> bool:
        told(worker.done())
        return worker.idle() > _QUIET

    return over

