"""Traces: spans reach a collector over OTLP, hang below the caller's span, and say nothing of the record."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flightworthy.ground.errors import AdapterError
from flightworthy.operation.service.tracing import ENDPOINT, Tracing
from tests.conftest import Trained
from tests.operation.running import Service

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes in what an OTLP exporter posts."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                outer.bodies.append(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    outer.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_requests_become_spans_below_the_callers(start: Callable[..., Service], starter_trained: Trained, collector: Collector) -> None:
    service = start(environ={ENDPOINT: f"http://127.0.0.1:{collector.server.server_port}", "OTEL_BSP_SCHEDULE_DELAY": "100"})
    line = starter_trained.lines("live", 1)[0]
    header = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    before = time.time_ns()
    assert service.raw("POST", "/v1/decisions", line, header)[0] == 200
    assert service.raw("POST", "/v1/decisions", b"{", header)[0] == 422
    assert service.raw("GET", "/nothing-here?secret=1", None, {"traceparent": "00-zz-1-01"})[0] == 404
    until = time.monotonic() + 20
    while len([span for span in collector.spans if "health" not in span.name]) < 3:
        assert time.monotonic() < until, collector.spans
        time.sleep(0.05)
    spans = [span for span in collector.spans if "health" not in span.name]
    good, bad, other = sorted(spans, key=lambda span: span.start_time_unix_nano)
    for span, status in ((good, 200), (bad, 422)):
        said = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
        assert said == {"http.request.method": "POST", "http.route": "/v1/decisions", "http.response.status_code": status}
        assert (span.name, span.kind, span.trace_id.hex(), span.parent_span_id.hex()) == ("POST /v1/decisions", 2, TRACE, PARENT)
        assert before - 10**9 < span.start_time_unix_nano <= span.end_time_unix_nano < time.time_ns() + 10**9
    assert other.name == "GET other" and not other.parent_span_id and other.trace_id.hex() != TRACE
    assert b"secret" not in b"".join(collector.bodies) and line[12:24] not in b"".join(collector.bodies)


def test_a_collector_that_is_not_there_changes_no_answer(start: Callable[..., Service], starter_trained: Trained) -> None:
    service = start(environ={ENDPOINT: "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"})
    assert {service.call("POST", "/v1/decisions", line)[0] for line in starter_trained.lines("live", 20)} <= {200, 422}
    time.sleep(0.5)
    assert service.call("GET", "/health/ready")[0] == 200


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tracing.configured().id_of({b"traceparent": f"00-{TRACE}-{PARENT}-01".encode()}) == TRACE
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(AdapterError, match="otel"):
        Tracing.configured()
