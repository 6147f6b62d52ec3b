"""The service described by itself: OpenAPI 3.1, made from the pilot's contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from flightworthy import __version__
from flightworthy.integration.contract import Contract
from flightworthy.integration.outcomes import OutcomeContract
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.service.answers import Answer, Noted, Problem

_REFERENCE = "#/components/schemas/{name}"


def document(pilot: Pilot) -> dict[str, Any]:
    """The whole description."""
    event, outcome = Contract(pilot).event, OutcomeContract(pilot).type
    _, schemas = msgspec.json.schema_components([event, outcome, Answer, Noted, Problem], ref_template=_REFERENCE)
    names = {"event": event.__name__, "outcome": outcome.__name__}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{pilot.name}: decisions", "version": __version__, "description": pilot.manifest.description},
        "paths": {
            "/v1/decisions": {"post": _records("decide", "Decide one event, or several", names["event"], "Answer")},
            "/v1/outcomes": {"post": _records("observe", "Take in one outcome, or several", names["outcome"], "Noted")},
            "/v1/kill-switch": {
                "get": _plain("switch", "Whether the kill switch is on", 401, 403),
                "put": _asked(_plain("turn", "Turn the kill switch", 400, 401, 403, 413, 503), on="boolean", why="string")},
            "/v1/rollout": {
                "get": _plain("rollout", "Where the rollout stands, on each shard", 401, 403, 409, 503),
                "put": _asked(_plain("roll", "Take a step of the rollout", 400, 401, 403, 409, 413, 503),
                              ("model", "rollout", "stage"), step="string", why="string", model="string", rollout="integer",
                              stage="integer")},
            "/v1/rollout/approvals": {
                "post": _asked(_plain("approve", "Approve of a rollout's promotion", 400, 401, 403, 409, 413, 503),
                               rollout="integer", why="string")},
            "/v1/people": {
                "post": _asked(_plain("people", "Consent, hold or erasure of people by name", 400, 401, 403, 409, 413, 503),
                               act="string", names="array", why="string")},
            "/v1/reload": {
                "post": _asked(_plain("reload", "Read manifest and models again", 400, 401, 403, 409, 413), why="string")},
            "/v1/shards": {"get": _plain("shards", "How each shard is", 401, 403)},
            "/v1/log/{shard}/checkpoint": {"get": _plain(
                "checkpoint", "The newest signed checkpoint of a shard's log; its tiles lie beside it (C2SP tlog-tiles)",
                401, 403, 404, 503, kind="text/plain", within={"shard": "integer"})},
            "/metrics": {"get": _plain("metrics", "Prometheus metrics", 401, 403, kind="text/plain")},
            "/health/live": {"get": _plain("live", "Whether the process is worth keeping", secured=False)},
            "/health/ready": {"get": _plain("ready", "Whether it would decide correctly now", 503, secured=False)},
            "/openapi.json": {"get": _plain("describe", "This document", secured=False)}},
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _records(name: str, summary: str, record: str, answer: str) -> dict[str, Any]:
    one, made = {"$ref": _REFERENCE.format(name=record)}, {"$ref": _REFERENCE.format(name=answer)}
    problem = {"$ref": _REFERENCE.format(name="Problem")}
    several = {"type": "array", "maxItems": 1000, "items": {"oneOf": [made, problem]}}
    return {**_plain(name, summary, 400, 401, 403, 409, 413, 422, 429, 503, schema={"oneOf": [made, several]}),
            "requestBody": {"required": True, "content": {"application/json": {"schema": {
                "oneOf": [one, {"type": "array", "maxItems": 1000, "items": one}]}}}}}


def _asked(route: dict[str, Any], optional: Sequence[str] = (), **members: str) -> dict[str, Any]:
    """A route that is told something: members by their types, required unless ``optional``."""
    schema = {"type": "object", "required": [name for name in members if name not in optional], "additionalProperties": False,
              "properties": {name: {"type": kind, **({"items": {"type": "string"}} if kind == "array" else {})}
                             for name, kind in members.items()}}
    return {**route, "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _plain(name: str, summary: str, *problems: int, secured: bool = True, kind: str = "application/json",
           schema: dict[str, Any] | None = None, within: dict[str, str] | None = None) -> dict[str, Any]:
    told = {"description": "RFC 9457 problem details", "content": {"application/problem+json": {
        "schema": {"$ref": _REFERENCE.format(name="Problem")}}}}
    places = [{"name": word, "in": "path", "required": True, "schema": {"type": kind, "minimum": 0}}
              for word, kind in (within or {}).items()]
    return {"operationId": name, "summary": summary, "security": [{"key": []}] if secured else [],
            **({"parameters": places} if places else {}),
            "responses": {"200": {"description": "done", "content": {kind: {"schema": schema or {}}}},
                          **{str(status): told for status in problems}}}
