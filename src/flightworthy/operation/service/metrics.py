"""What the service counts, in Prometheus' text format. Names and labels are few and fixed (docs/service.md)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from flightworthy.decision.fallback import CHAMPION
from flightworthy.operation.service.wire import Tally

if TYPE_CHECKING:
    from flightworthy.operation.service.desk import Desk

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Buckets:
    """A histogram: counts below its bounds, and a sum. One addition costs a search and two sums."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def rows(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        out, total = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            out.append((bound, float(total)))
        return out


class Metrics:
    """Counts of one service; a collector in a registry of its own."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, Buckets] = {}
        self.decided: Counter[tuple[str, str]] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.outcomes = 0
        self.batch, self.batch_seconds = Buckets(_SIZES), Buckets(_SECONDS)
        self.desk: Desk | None = None
        self.broken: Any = lambda: 0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def request_done(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests[route, status] += 1
        found = self.seconds.get(route)
        if found is None:
            found = self.seconds[route] = Buckets(_SECONDS)
        found.add(seconds)

    def batch_done(self, tally: Tally) -> None:
        """Count a batch of a shard."""
        self.batch.add(tally.records)
        self.batch_seconds.add(tally.took)
        for action, by, step, n in tally.decided:
            self.decided[action, by] += n
            if step != CHAMPION:
                self.fallbacks[step] += n
        self.quarantined.update(tally.quarantined)
        self.outcomes += tally.outcomes

    def collect(self) -> Iterator[Any]:
        """All of it, for a registry."""
        yield _counter("flightworthy_requests", "Answered requests", ["route", "status"],
                       {(route, str(status)): n for (route, status), n in self.requests.items()})
        yield _histogram("flightworthy_request_seconds", "From the last byte of a request to its answer", ["route"],
                         {(route,): buckets for route, buckets in self.seconds.items()})
        yield _counter("flightworthy_decisions", "Answers with a durable decision", ["action", "by"], self.decided)
        yield _counter("flightworthy_fallbacks", "Decisions the champion did not answer", ["step"],
                       {(step,): n for step, n in self.fallbacks.items()})
        yield _counter("flightworthy_quarantined", "Records in quarantine", ["reason"],
                       {(reason,): n for reason, n in self.quarantined.items()})
        yield _counter("flightworthy_outcomes", "Answers about a durable outcome", [], {(): self.outcomes})
        yield _histogram("flightworthy_batch_records", "Records decided together", [], {(): self.batch})
        yield _histogram("flightworthy_batch_seconds", "Time of a batch, with its commit", [], {(): self.batch_seconds})
        yield _counter("flightworthy_broken_requests", "What was no HTTP, or broke a limit of it", [], {(): self.broken()})
        yield from self._of_desk()

    def _of_desk(self) -> Iterator[Any]:
        desk = self.desk
        links = [] if desk is None else desk.links
        yield _counter("flightworthy_spilled", "Decisions by default beside the ledger", [], {(): desk.spilled if desk else 0})
        yield _counter("flightworthy_refused", "Records refused because nothing could be made durable", [],
                       {(): desk.refused if desk else 0})
        yield _counter("flightworthy_shard_restarts", "Shards started again", [], {(): sum(link.restarts for link in links)})
        for name, words, value in (
                ("waiting_records", "Records that wait for a shard", sum(link.waiting for link in links)),
                ("spill_records", "Spilled decisions that the ledger does not have yet", len(desk.spill.held) if desk else 0),
                ("shards_ready", "Shards that would decide correctly now",
                 sum(link.state is not None and link.state.ready and not link.open for link in links)),
                ("kill_switch", "1 while it is on", any(link.state is not None and link.state.killed for link in links))):
            gauge = GaugeMetricFamily(f"flightworthy_{name}", words)
            gauge.add_metric([], float(value))
            yield gauge

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


def _counter(name: str, words: str, labels: list[str], values: Any) -> Any:
    family = CounterMetricFamily(name, words, labels=labels)
    for key, n in values.items():
        family.add_metric(list(key), n)
    return family


def _histogram(name: str, words: str, labels: list[str], values: Any) -> Any:
    family = HistogramMetricFamily(name, words, labels=labels)
    for key, buckets in values.items():
        family.add_metric(list(key), buckets.rows(), buckets.sum)
    return family
