"""What a worker shows of itself: Prometheus at ``/metrics``, liveness at ``/health/live``, readiness at ``/health/ready``."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from flightworthy.ground.errors import DataError
from flightworthy.operation.worker.lane import Lane
from flightworthy.operation.worker.worker import Worker

_PARTITION = ["partition"]


class Figures:
    """Collected when somebody asks, from what the worker keeps anyway."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """All of them. Counts are those since this process took a partition up."""
        lanes = [lane for lane in list(self._worker.lanes.values()) if lane.generation]
        yield _gauge("lag", "records of the events' topic that are not decided yet", lanes, self._worker.lag)
        yield _gauge("waiting_records", "records that were fetched and wait", lanes, lambda lane: len(lane.buffers))
        yield _gauge("watermark_seconds", "newest event time seen, as seconds since 1970", lanes,
                     lambda lane: max(0.0, lane.engine.admission.watermark / 1e6))
        yield _gauge("unpublished_entries", "entries whose decisions nobody is known to have been told", lanes,
                     lambda lane: max(0, lane.last - lane.published))
        yield _gauge("running", "1 while a partition is decided, 0 while it is taken up", lanes, lambda lane: float(lane.running))
        yield _counter("decisions", "events decided", lanes, lambda lane: lane.counts.decisions)
        yield _counter("outcomes", "outcomes taken in", lanes, lambda lane: lane.counts.outcomes)
        yield _counter("repeated", "records that came before", lanes, lambda lane: lane.counts.repeated)
        yield _counter("batches", "commits", lanes, lambda lane: lane.counts.batches)
        held = CounterMetricFamily("flightworthy_stream_quarantined", "records sent to quarantine, by reason; one is late",
                                   labels=["partition", "reason"])
        for lane in lanes:
            for reason, count in list(lane.counts.quarantined.items()):
                held.add_metric([lane.sources[0], reason], count)
        yield held
        takeovers = CounterMetricFamily("flightworthy_stream_takeovers", "partitions taken up by this worker")
        takeovers.add_metric([], self._worker.report.takeovers)
        yield takeovers


def _gauge(name: str, said: str, lanes: list[Lane], of: Callable[[Lane], float]) -> Metric:
    out = GaugeMetricFamily(f"flightworthy_stream_{name}", said, labels=_PARTITION)
    for lane in lanes:
        out.add_metric([lane.sources[0]], of(lane))
    return out


def _counter(name: str, said: str, lanes: list[Lane], of: Callable[[Lane], float]) -> Metric:
    out = CounterMetricFamily(f"flightworthy_stream_{name}", said, labels=_PARTITION)
    for lane in lanes:
        out.add_metric([lane.sources[0]], of(lane))
    return out


def expose(worker: Worker, address: str) -> ThreadingHTTPServer:
    """Answer at ``host:port`` in a thread, on this machine only: who asks is not asked who they are. Raises `DataError`."""
    host, _, port = address.rpartition(":")
    try:
        if not ipaddress.ip_address(host.strip("[]")).is_loopback:
            raise DataError("metrics are shown on this machine only", found=address, expected="127.0.0.1:PORT",
                            next_step="let the node's collector, or a proxy that asks for a key, read them there")
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(worker))
    except (ValueError, OSError) as error:
        raise DataError(f"cannot listen: {error}", found=address, expected="an address such as 127.0.0.1:9100") from error
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _handler(worker: Worker) -> type[BaseHTTPRequestHandler]:
    registry = CollectorRegistry()
    registry.register(Figures(worker))

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._say(200, generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path in ("/health/live", "/health/ready"):
                fine = worker.alive() if self.path.endswith("live") else worker.ready()
                self._say(200 if fine else 503, b'{"ok":true}' if fine else b'{"ok":false}', "application/json")
            else:
                self._say(404, b"", "text/plain")

        def _say(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler
