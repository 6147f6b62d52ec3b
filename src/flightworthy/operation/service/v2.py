"""Decisions in the Open Inference Protocol (KServe v2, REST), without the server: metadata, requests and answers as bytes.

An input tensor is a field of the contract, a row of all tensors one event. An output tensor is a member of the answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from flightworthy import __version__
from flightworthy.integration.contract import RejectionError, no_duplicates
from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import FieldSpec
from flightworthy.operation.service import v2_tensors as tensors
from flightworthy.operation.service.answers import Answer, Problem, encode
from flightworthy.operation.service.v2_tensors import BOOL, BYTES, FP64, INT64, Tensor, V2Error, quoted

__all__ = ["MOST_ROWS", "VERSION", "Asked", "V2Error", "error", "metadata", "read", "server_metadata", "write"]
VERSION = "1"
MOST_ROWS = 1000
_NOTHING: dict[str, Any] = {BYTES: "", INT64: -1, FP64: math.nan}  # what a row without a value says


class _Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Wanted] | None = None


_decode = msgspec.json.Decoder(_Request).decode


@dataclass(frozen=True)
class Asked:
    """A request: events as the engine's contract reads them with their ids, the output tensors in the order they are wanted, and
    which of them in binary form."""

    id: str | None
    raws: list[bytes]
    ids: list[str]
    outputs: tuple[str, ...]
    binary: frozenset[str]


def error(message: str) -> bytes:
    """The body of every response that is not 200."""
    return json.dumps({"error": message}).encode()  # ASCII: a message may quote what is no valid text


def server_metadata() -> bytes:
    """The answer to ``GET /v2``."""
    return encode({"name": "flightworthy", "version": __version__, "extensions": ["binary_tensor_data"]})


def metadata(pilot: Pilot) -> bytes:
    """The answer to ``GET /v2/models/NAME``."""
    inputs = {name: datatype_of(spec) for name, spec in pilot.manifest.events.fields.items()}
    told = [[{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in types.items()]
            for types in (inputs, outputs_of(pilot))]
    return encode({"name": pilot.name, "versions": [VERSION], "platform": "flightworthy", "inputs": told[0],
                   "outputs": told[1]})


def datatype_of(spec: FieldSpec) -> str:
    """The datatype a field is declared with; a time is a text, or a number where it counts a unit."""
    if spec.type == "time":
        return BYTES if spec.unit is None else INT64
    return {"integer": INT64, "number": FP64, "decimal": FP64, "boolean": BOOL}.get(spec.type, BYTES)


def outputs_of(pilot: Pilot) -> dict[str, str]:
    """All output tensors with their datatypes, in order."""
    return {"id": BYTES, "action": BYTES, "quantity": FP64, **dict.fromkeys(pilot.outputs, FP64), "decision": INT64,
            "by": BYTES, "path": BYTES, "reasons": BYTES, "model": BYTES, "pilot": BYTES, "problem": BYTES}


def read(pilot: Pilot, body: bytes, json_length: int | None) -> Asked:
    """An infer request; ``json_length`` is its header ``Inference-Header-Content-Length``, None when it has none. Raises
    `V2Error`, and nothing else, whatever the bytes. What fits the protocol but not the contract is left to the contract."""
    end = len(body) if json_length is None else json_length
    if not 0 < end <= len(body):
        raise V2Error(400, f"Inference-Header-Content-Length is {end}, the body has {len(body)} bytes")
    request = _opened(body[:end])
    outputs, binary = _wanted(pilot, request)
    columns = _columns(pilot, request.inputs, body[end:])
    raws = [encode(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    ids = ["" if value is None else str(value) for value in columns[pilot.manifest.events.id]]
    return Asked(request.id, raws, ids, outputs, binary)


def write(pilot: Pilot, asked: Asked, answers: Sequence[Answer | Problem]) -> tuple[bytes, int | None]:
    """The body of the response, and the value of its header ``Inference-Header-Content-Length`` (None: no such header). Raises
    `V2Error` when there was no decision at all.

    A row without a value has "" or -1, and NaN in binary form. JSON has no NaN, and a 0 would be a lie: there a tensor of numbers
    some row has none for is left out, and the response's parameter ``left_out`` names it.
    """
    told = [_told(event_id, answer) for event_id, answer in zip(asked.ids, answers, strict=True)]
    if all(isinstance(answer, Problem) for answer in answers):
        raise V2Error(400, _text(answers))
    types = outputs_of(pilot)
    head: dict[str, Any] = {"model_name": pilot.name, "model_version": VERSION, "outputs": []}
    if asked.id is not None:
        head["id"] = asked.id
    left_out: list[str] = []
    parts: list[bytes] = []
    for name in asked.outputs:
        column = [_NOTHING[types[name]] if row.get(name) is None else row[name] for row in told]
        tensor = {"name": name, "datatype": types[name], "shape": [len(column)]}
        if name in asked.binary:
            parts.append(tensors.packed(types[name], column))
            head["outputs"].append({**tensor, "parameters": {"binary_data_size": len(parts[-1])}})
        elif types[name] == FP64 and not all(map(math.isfinite, column)):
            left_out.append(name)
        else:
            head["outputs"].append({**tensor, "data": column})
    if left_out:
        head["parameters"] = {"left_out": ", ".join(left_out)}
    said = encode(head)
    return said + b"".join(parts), len(said) if parts else None


def _opened(raw: bytes) -> _Request:
    try:
        request = _decode(raw)
        no_duplicates(raw)
    except (RejectionError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise V2Error(400, f"not an inference request: {wrong}"[:500]) from None
    return request


def _wanted(pilot: Pilot, request: _Request) -> tuple[tuple[str, ...], frozenset[str]]:
    everything = outputs_of(pilot)
    usual = _flag(request.parameters, "binary_data_output", False)
    binary: dict[str, bool] = {}
    for wanted in request.outputs or [_Wanted(name) for name in everything]:
        if wanted.name not in everything or wanted.name in binary:
            raise V2Error(400, f"output {quoted(wanted.name)} {'is asked for twice' if wanted.name in binary else 'is unknown'}")
        if any(name == "classification" or name.startswith("shared_memory") for name in wanted.parameters or {}):
            raise V2Error(400, f"output {quoted(wanted.name)}: neither classification nor shared memory is supported")
        binary[wanted.name] = _flag(wanted.parameters, "binary_data", usual)
    return tuple(binary), frozenset(name for name, yes in binary.items() if yes)


def _flag(parameters: dict[str, Any] | None, name: str, usual: bool) -> bool:
    value = (parameters or {}).get(name, usual)
    if not isinstance(value, bool):
        raise V2Error(400, f"parameter '{name}' must be true or false")
    return value


def _columns(pilot: Pilot, inputs: list[Tensor], binary: bytes) -> dict[str, list[Any]]:
    """The values of each field that was sent, in the order of the contract."""
    fields = pilot.manifest.events.fields
    given = {tensor.name: (tensor, part) for tensor, part in zip(inputs, tensors.cut(inputs, binary), strict=True)}
    if len(given) != len(inputs):
        raise V2Error(400, "an input stands twice")
    for name in [*given, *fields]:
        if name not in fields:
            raise V2Error(400, f"unknown input {quoted(name)}; the fields are {', '.join(fields)}"[:1000])
        if name not in given and not fields[name].nullable:
            raise V2Error(400, f"input '{name}' is missing")
    counts = {tensors.rows(tensor, MOST_ROWS) for tensor in inputs}
    if len(counts) != 1:
        raise V2Error(400, "all inputs must have the same number of rows")
    n = counts.pop()
    return {name: tensors.fit(given[name][0], tensors.values(*given[name], n), datatype_of(spec),
                              empty_is_null=spec.nullable and "" not in (spec.values or ()))
            for name, spec in fields.items() if name in given}


def _told(event_id: str, answer: Answer | Problem) -> dict[str, Any]:
    """The values of one row by output; what is not there, or None, is none."""
    if isinstance(answer, Problem):
        return {"id": event_id, "reasons": "[]", "problem": encode(answer).decode()}
    return {**answer.outputs, "id": answer.id, "action": answer.action, "quantity": answer.quantity,
            "decision": answer.decision, "by": answer.by, "path": " > ".join(answer.path),
            "reasons": encode(answer.reasons).decode(), "model": answer.model, "pilot": answer.pilot}


def _text(answers: Sequence[Answer | Problem]) -> str:
    """What a caller is told who got nothing but problems: the first one."""
    first = next(answer for answer in answers if isinstance(answer, Problem))
    return ": ".join(filter(None, (first.title, first.field, first.detail)))
