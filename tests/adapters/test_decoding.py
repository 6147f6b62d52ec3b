"""Records whose schemas a registry keeps. The registry here is simulated: two answers of its REST API, which is all a reader asks."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from flightworthy.adapters.kafka.address import Address
from flightworthy.adapters.kafka.decoding import Decode, decoder
from flightworthy.ground.errors import AdapterError
from tests.conftest import Trained

AVRO = {"type": "record", "name": "Invoice", "fields": [
    {"name": "invoice", "type": "string"}, {"name": "issued", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "customer_id", "type": "string"}, {"name": "terms", "type": "string"},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}}]}
JSON = {"type": "object", "title": "Invoice", "properties": {"invoice": {"type": "string"}}, "required": ["invoice"]}
SCHEMAS = {"7": {"schema": json.dumps(AVRO)}, "8": {"schema": json.dumps(JSON), "schemaType": "JSON"}}


@pytest.fixture
def registry() -> Iterator[str]:
    """Its address."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = self.path.partition("?")[0].rpartition("/")[2]
            status, said = (200, SCHEMAS[number]) if number in SCHEMAS else (500, {}) if number == "9" else (
                404, {"error_code": 40403, "message": "Schema not found"})
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def reader(registry: str, form: str) -> Decode:
    """Of a topic in this format."""
    found = decoder(Address.of(f"kafka://broker/topic?format={form}&registry={registry}"))
    assert found is not None
    return found


def framed(number: int, body: bytes) -> bytes:
    """As Confluent's serializers write it."""
    return b"\0" + struct.pack(">I", number) + body


def test_avro_becomes_a_row_that_fits_the_contract(registry: str, starter_trained: Trained) -> None:
    from datetime import UTC, datetime
    from decimal import Decimal

    from flightworthy.integration.contract import Contract

    out, row = io.BytesIO(), {"invoice": "I1", "issued": datetime(2026, 1, 1, tzinfo=UTC), "customer_id": "K1", "terms": "net30",
                              "amount": Decimal("120.50")}
    schemaless_writer(out, parse_schema(AVRO), row)
    found = reader(registry, "avro")(framed(7, out.getvalue()))
    assert found == row
    event: Any = Contract(starter_trained.pilot).read(found)
    assert (event.invoice, float(event.amount)) == ("I1", 120.5)


def test_json_with_a_schema_becomes_a_row(registry: str) -> None:
    assert reader(registry, "json-schema")(framed(8, b'{"invoice": "I1"}')) == {"invoice": "I1"}


@pytest.mark.parametrize(("form", "raw"), [
    ("avro", b""), ("avro", b"{}"), ("avro", framed(7, b"\x02")), ("avro", framed(5, b"unknown schema")),
    ("json-schema", framed(8, b"{")), ("json-schema", framed(8, b'{"other": 1}'))])
def test_what_cannot_be_decoded_goes_on_as_it_is(registry: str, form: str, raw: bytes) -> None:
    assert reader(registry, form)(raw) == raw


def test_a_registry_that_fails_stops_reading(registry: str) -> None:
    with pytest.raises(AdapterError, match="registry fails"):
        reader(registry, "avro")(framed(9, b"..."))
