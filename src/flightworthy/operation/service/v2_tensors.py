"""Tensors of the Open Inference Protocol: from their JSON or binary form to exact plain values, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

BYTES, BOOL, INT64, FP64 = "BYTES", "BOOL", "INT64", "FP64"
_FORMATS = {f"{kind}{8 * size}": np.dtype(f"<{letter}{size}") for kind, letter, sizes in
            (("INT", "i", (1, 2, 4, 8)), ("UINT", "u", (1, 2, 4, 8)), ("FP", "f", (2, 4, 8))) for size in sizes}
_MOST = {name: (float(np.finfo(form).max) if form.kind == "f" else int(np.iinfo(form).max)) for name, form in _FORMATS.items()}
_LEAST = {name: (-_MOST[name] if form.kind == "f" else int(np.iinfo(form).min)) for name, form in _FORMATS.items()}


class V2Error(Exception):
    """A request that gets no tensors: the HTTP status, and the words its caller is told (see `v2.error`)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Tensor(msgspec.Struct):
    """An input as it stands in the JSON of a request. Members the protocol does not know are passed over."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None

    def wrong(self, message: str) -> V2Error:
        """The error that names this tensor."""
        return V2Error(400, f"input {quoted(self.name)}: {message}")


def quoted(name: str) -> str:
    """A name of the sender's choice as it may stand in a message: of bounded length."""
    return f"'{name}'" if len(name) <= 64 else f"'{name[:64]}…'"


def rows(tensor: Tensor, most: int) -> int:
    """How many rows its shape declares: [n] or [n, 1]."""
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]) or tensor.shape[0] < 1:
        raise tensor.wrong("the shape must be [n] or [n, 1] with n of at least 1")
    if tensor.shape[0] > most:
        raise V2Error(413, f"input {quoted(tensor.name)}: at most {most} rows in one request")
    return tensor.shape[0]


def cut(tensors: Sequence[Tensor], binary: bytes) -> list[bytes | None]:
    """The binary part of a body in its tensors' order, to the last byte; None for those whose data are in the JSON."""
    parts: list[bytes | None] = []
    at = 0
    for tensor in tensors:
        parameters = tensor.parameters or {}
        size = parameters.get("binary_data_size")
        if any(name.startswith("shared_memory") for name in parameters):
            raise tensor.wrong("shared memory is not supported")
        if (size is None) == (tensor.data is None):
            raise tensor.wrong("either `data` or `binary_data_size`, and not both")
        if size is None:
            parts.append(None)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - at:
            raise tensor.wrong(f"binary_data_size must be a whole number, and {len(binary) - at} bytes are left")
        parts.append(binary[at : at + size])
        at += size
    if at != len(binary):
        raise V2Error(400, f"{len(binary) - at} bytes after the data of the last binary tensor")
    return parts


def values(tensor: Tensor, part: bytes | None, n: int) -> list[Any]:
    """Its n values: str, bool, int or float (which binary data may make NaN or infinite)."""
    if tensor.datatype not in _FORMATS and tensor.datatype not in (BYTES, BOOL):
        raise tensor.wrong(f"unknown datatype {quoted(tensor.datatype)}")
    if part is None:
        return [_written(tensor, value) for value in _flat(tensor, n)]
    if tensor.datatype == BYTES:
        return _texts(tensor, part, n)
    form = _FORMATS.get(tensor.datatype, np.dtype("u1"))
    if len(part) != n * form.itemsize:
        raise tensor.wrong(f"{len(part)} bytes, but its shape and datatype need {n * form.itemsize}")
    found: list[Any] = np.frombuffer(part, form).tolist()
    if tensor.datatype != BOOL:
        return found
    if any(value > 1 for value in found):
        raise tensor.wrong("a BOOL is one byte, 0 or 1")
    return list(map(bool, found))


def fit(tensor: Tensor, found: list[Any], wanted: str, empty_is_null: bool) -> list[Any]:
    """The values as a field of datatype ``wanted`` takes them, unchanged in value, or `V2Error`. The protocol has no null: NaN
    becomes None, and so does an empty text if ``empty_is_null``."""
    if wanted in (BYTES, BOOL) or tensor.datatype in (BYTES, BOOL):
        if tensor.datatype != wanted:
            raise tensor.wrong(f"the datatype is {tensor.datatype}, but the field takes {wanted}")
        return [value or None for value in found] if wanted == BYTES and empty_is_null else found
    return [None if math.isnan(value) else _exact(tensor, value, wanted) for value in found]


def packed(datatype: str, column: Sequence[Any]) -> bytes:
    """The binary form of values of an answer: BYTES, INT64 or FP64."""
    if datatype != BYTES:
        return np.array(column, _FORMATS[datatype]).tobytes()
    texts = [text.encode() for text in column]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))


def _flat(tensor: Tensor, n: int) -> list[Any]:
    data = tensor.data or []
    if len(tensor.shape) == 2 and all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [row[0] for row in data]  # the nested spelling of [n, 1]; flat is as good
    if len(data) != n:
        raise tensor.wrong(f"{len(data)} values, but its shape needs {n}")
    return data


def _written(tensor: Tensor, value: Any) -> Any:
    """A value of the JSON, if it is one of the tensor's datatype. A decimal fraction is taken as written, never rounded to FP32
    first: 85.65 stays 85.65."""
    if tensor.datatype in (BYTES, BOOL):
        if isinstance(value, str if tensor.datatype == BYTES else bool):
            return value
        raise tensor.wrong(f"a value is not of datatype {tensor.datatype}")
    form = _FORMATS[tensor.datatype]
    if type(value) not in (int, float) or (form.kind != "f" and value != math.floor(value)):
        raise tensor.wrong(f"a value is not of datatype {tensor.datatype}")
    if not _LEAST[tensor.datatype] <= value <= _MOST[tensor.datatype]:
        raise tensor.wrong(f"a value is beyond {tensor.datatype}")
    return float(value) if form.kind == "f" else int(value)


def _texts(tensor: Tensor, part: bytes, n: int) -> list[str]:
    texts: list[str] = []
    at = 0
    for _ in range(n):
        start = at + 4
        at = start + int.from_bytes(part[at:start], "little")
        if start > len(part) or at > len(part):
            raise tensor.wrong(f"the data end before value {len(texts) + 1} of {n}")
        try:
            texts.append(part[start:at].decode())
        except UnicodeDecodeError:
            raise tensor.wrong(f"value {len(texts) + 1} is not UTF-8") from None
    if at != len(part):
        raise tensor.wrong(f"{len(part) - at} bytes after its last value")
    return texts


def _exact(tensor: Tensor, value: float, wanted: str) -> float:
    if math.isinf(value):
        raise tensor.wrong("a value is infinite")
    if wanted == FP64:
        if int(value) != int(float(value)):
            raise tensor.wrong(f"{value} is not a double")
        return float(value)
    if value != int(value) or not -(2**63) <= value < 2**63:
        raise tensor.wrong(f"{value} is not a whole number of 64 bits")
    return int(value)
