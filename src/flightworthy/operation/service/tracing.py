"""Traces: the W3C trace id of a request in our log, and a span for each request where OpenTelemetry is installed and told where
to send them (``OTEL_EXPORTER_OTLP_ENDPOINT``)."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from flightworthy.ground.registry import missing_extra

if TYPE_CHECKING:
    from flightworthy.operation.service.messages import Request

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Tracing:
    """Spans of requests; without a tracer only the ids of others are passed on to the log."""

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @classmethod
    def configured(cls) -> Tracing:
        """What the environment asks for. Raises `AdapterError` when it asks and the extra is missing."""
        if not os.environ.get(ENDPOINT):
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise missing_extra("opentelemetry-sdk", "otel", f"${ENDPOINT}") from None
        provider = TracerProvider(resource=Resource.create({"service.name": "flightworthy"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider.get_tracer("flightworthy.service"))

    @staticmethod
    def id_of(headers: dict[bytes, bytes]) -> str:
        """The trace id of a ``traceparent`` header, '' without a valid one."""
        found = _PARENT.fullmatch(headers.get(b"traceparent", b""))
        return found.group(1).decode() if found else ""

    def done(self, request: Request, route: str, status: int, took: int) -> None:
        """Record a request that took so many nanoseconds."""
        if self._tracer is None:
            return
        from opentelemetry import trace
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

        context = None
        found = _PARENT.fullmatch(request.headers.get(b"traceparent", b""))
        if found:
            parent = SpanContext(int(found.group(1), 16), int(found.group(2), 16), True, TraceFlags(int(found.group(3), 16)))
            context = trace.set_span_in_context(NonRecordingSpan(parent))
        now = time.time_ns()
        said = {"http.request.method": request.method, "http.route": route, "http.response.status_code": status}
        span = self._tracer.start_span(f"{request.method} {route}", context=context, start_time=now - took,
                                       kind=trace.SpanKind.SERVER, attributes=said)
        span.end(now)
