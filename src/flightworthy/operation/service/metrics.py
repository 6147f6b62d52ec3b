"""What the service counts, in Prometheus' text format. Names and labels are few and fixed (docs/service.md)."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flightworthy.decision.fallback import CHAMPION
from flightworthy.governance.ledger import DECISION, OUTCOME
from flightworthy.integration.contract import Rejection

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("flightworthy_requests", "Answered requests", ["route", "status"], registry=registry)
        self.seconds = Histogram("flightworthy_request_seconds", "From the last byte of a request to its answer", ["route"],
                                 buckets=_SECONDS, registry=registry)
        self.decisions = Counter("flightworthy_decisions", "Answers with a durable decision", ["action", "by"], registry=registry)
        self.fallbacks = Counter("flightworthy_fallbacks", "Decisions the champion did not answer", registry=registry)
        self.quarantined = Counter("flightworthy_quarantined", "Records in quarantine", ["reason"], registry=registry)
        self.outcomes = Counter("flightworthy_outcomes", "Answers about a durable outcome", registry=registry)
        self.batch = Histogram("flightworthy_batch_records", "Records decided together", buckets=_SIZES, registry=registry)
        self.batch_seconds = Histogram("flightworthy_batch_seconds", "Time of a batch, with its commit", buckets=_SECONDS,
                                       registry=registry)
        self.waiting = Gauge("flightworthy_waiting_records", "Records that wait for the engine", registry=registry)
        self.killed = Gauge("flightworthy_kill_switch", "1 while the kill switch is on", registry=registry)

        self._routes: dict[tuple[str, int], tuple[Any, Any]] = {}

    def request_done(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        found = self._routes.get((route, status))
        if found is None:
            found = self._routes[route, status] = self.requests.labels(route, str(status)), self.seconds.labels(route)
        found[0].inc()
        found[1].observe(seconds)

    def batch_done(self, _: int, results: list[Any], seconds: float) -> None:
        """Count a batch."""
        self.batch.observe(len(results))
        self.batch_seconds.observe(seconds)
        decided = [result for result in results if not isinstance(result, Rejection) and result.kind == DECISION]
        for (action, by), n in Tally((r.action, r.by) for r in decided).items():
            self.decisions.labels(action, by).inc(n)
        self.fallbacks.inc(sum(r.path != [CHAMPION] for r in decided))
        for reason, n in Tally(r.reason for r in results if isinstance(r, Rejection)).items():
            self.quarantined.labels(reason).inc(n)
        self.outcomes.inc(sum(not isinstance(r, Rejection) and r.kind == OUTCOME for r in results))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
