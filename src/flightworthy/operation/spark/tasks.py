"""What runs in Spark's Python workers: our own code over batches of Arrow. Each is told the pilot by its manifest's text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from flightworthy.decision.backfill import Backfilled, fitting, table, told
from flightworthy.decision.line import FeatureRows, Line
from flightworthy.decision.work import EVENT
from flightworthy.ground import registry
from flightworthy.integration.archive import UNKNOWN
from flightworthy.integration.contract import Raw, Rejection
from flightworthy.integration.features.state import FeatureState
from flightworthy.integration.sources import Row, Source, chunked
from flightworthy.manifest.load import parse
from flightworthy.operation.backfill import refusal

Batches = Iterator[pa.RecordBatch]
_WORDS = {pa.int64(): "bigint", pa.float64(): "double", pa.string(): "string", pa.binary(): "binary",
          pa.list_(pa.string()): "array<string>", pa.timestamp("us", "UTC"): "timestamp"}
_REFUSED = [("reason", pa.string()), ("refusal", pa.string())]
ADMITTED = pa.schema([("origin", pa.int64()), ("id", pa.string()), ("time", pa.int64()), ("label", pa.float64()),
                      ("known", pa.int64()), ("body", pa.binary()), ("keys", pa.list_(pa.string())), *_REFUSED])
TOLD = pa.schema([("origin", pa.int64()), ("id", pa.string()), ("label", pa.float64()), ("known", pa.int64()), *_REFUSED])


def words(schema: pa.Schema) -> str:
    """A schema as Spark is told it."""
    return ", ".join(f"`{field.name}` {_WORDS[field.type]}" for field in schema)


@lru_cache(1)
def line_of(text: str) -> Line:
    """The pilot of a manifest, compiled."""
    return Line(parse(text), {})


def keys_of(line: Line) -> list[tuple[str, ...]]:
    """Keys by which features are grouped, each once; the features of one are computed where all of its events come together."""
    return list(dict.fromkeys(plan.key for plan in line.plans))


@dataclass
class Refused:
    """Rows that do not fit, of one chunk: (reason, as it is kept)."""

    rows: list[tuple[str, str]]

    def __call__(self, raw: Raw, rejection: Rejection) -> None:
        self.rows.append((rejection.reason, refusal(raw, rejection).decode()))


@dataclass(frozen=True)
class Admit:
    """Records → events that fit the contract (`ADMITTED`), numbered by their place in the partition; what does not fit has a
    reason. ``kind``: arrow:lines or arrow:table."""

    text: str
    kind: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Batches:
        line, place = line_of(self.text), 0
        source: Source = registry.find("sources", "arrow:")(self.kind, pilot=line.pilot, batches=batches)
        keys = keys_of(line)
        for chunk in source.chunks():
            refused = Refused([])
            put, events = fitting(line, chunk, refused, Backfilled())
            joined = [["\0".join(repr(getattr(event, name)) for name in key) for key in keys] for event in events]
            yield _rows(ADMITTED, place, put._asdict() | {"keys": joined}, refused)
            place += len(chunk.raws)


@dataclass(frozen=True)
class Tell:
    """Lines of JSON → outcomes (`TOLD`)."""

    text: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Batches:
        line, place = line_of(self.text), 0
        raws = (raw for batch in batches for raw in batch.column("value").to_pylist() if raw.strip())
        for chunk in chunked(map(Row, raws)):
            refused = Refused([])
            yield _rows(TOLD, place, told(line, chunk.raws, refused, Backfilled())._asdict(), refused)
            place += len(chunk.raws)


def _rows(schema: pa.Schema, place: int, columns: dict[str, Any], refused: Refused) -> pa.RecordBatch:
    """Rows that fit, then those that do not, of which there is only why."""
    singular = {"ids": "id", "times": "time", "labels": "label", "bodies": "body"}
    data = {singular.get(name, name): list(values) for name, values in columns.items()}
    n, more = len(data["id"]), len(refused.rows)
    data = {name: values + [None] * more for name, values in data.items()}
    data["origin"] = list(range(place, place + n + more))
    data["reason"] = [None] * n + [reason for reason, _ in refused.rows]
    data["refusal"] = [None] * n + [kept for _, kept in refused.rows]
    return pa.RecordBatch.from_pydict(data, schema)


@dataclass(frozen=True)
class Compute:
    """Effects in their order, all of an entity in one partition → the aggregates of one key: origin, then a column for each."""

    text: str
    key: tuple[str, ...]

    def plans(self, line: Line) -> tuple[list[Any], list[int]]:
        """The plans of the key, and where their columns stand among all."""
        first = np.cumsum([0, *(len(plan.columns) for plan in line.plans)])
        own = [i for i, plan in enumerate(line.plans) if plan.key == self.key]
        return [line.plans[i] for i in own], [c for i in own for c in range(first[i], first[i + 1])]

    def schema(self) -> pa.Schema:
        """Of what comes out."""
        return pa.schema([("origin", pa.int64()), *((f"a{c}", pa.float64()) for c in self.plans(line_of(self.text))[1])])

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Batches:
        line = line_of(self.text)
        plans, columns = self.plans(line)
        state, decode = FeatureState(plans), msgspec.msgpack.Decoder(line.contract.event).decode
        for batch in batches:
            kinds, places = batch.column("kind").to_numpy(), batch.column("origin").to_numpy()
            labels = np.where(kinds == EVENT, line.no_label, _floats(batch, "label"))
            events = list(map(decode, batch.column("body").to_pylist()))
            _, made = line.aggregates(state, FeatureRows(kinds, events, places, labels))
            yield pa.RecordBatch.from_pydict(
                {"origin": places[kinds == EVENT], **{f"a{c}": made[:, i] for i, c in enumerate(columns)}})


@dataclass(frozen=True)
class Derive:
    """Events with their aggregates → the table that is wanted: instants, then all else."""

    text: str

    def schema(self) -> pa.Schema:
        """Of what comes out."""
        nothing = np.zeros(0, np.int64)
        instants, columns = self._table(line_of(self.text), [], [], nothing.astype(float), nothing, [])
        kinds = dict.fromkeys(instants, pa.timestamp("us", "UTC"))
        return pa.schema([*kinds.items(), *((name, pa.float64() if isinstance(column, np.ndarray) else pa.string())
                                            for name, column in columns.items())])

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Batches:
        line = line_of(self.text)
        decode = msgspec.msgpack.Decoder(line.contract.event).decode
        width = sum(len(plan.columns) for plan in line.plans)
        for batch in batches:
            events = list(map(decode, batch.column("body").to_pylist()))
            aggregates = [_floats(batch, f"a{c}") for c in range(width)]
            instants, columns = self._table(line, batch.column("id").to_pylist(), events, _floats(batch, "label"),
                                            batch.column("known").to_numpy(), aggregates)
            arrays = {name: pa.array(column, pa.timestamp("us", "UTC"), mask=column == UNKNOWN)
                      for name, column in instants.items()}
            arrays |= {name: pa.array(column, mask=np.isnan(column) if isinstance(column, np.ndarray) else None)
                       for name, column in columns.items()}
            yield pa.RecordBatch.from_pydict(arrays)

    @staticmethod
    def _table(line: Line, ids: list[str], events: list[Any], labels: Any, known: Any, aggregates: list[Any]) -> Any:
        numbers = line.columns.numbers(events, line.columns.times(events))
        made = np.column_stack(aggregates) if aggregates else np.zeros((len(events), sum(len(p.columns) for p in line.plans)))
        return table(line, ids, events, labels, known, line.frames.build(numbers, made))


def _floats(batch: pa.RecordBatch, name: str) -> Any:
    return batch.column(name).to_numpy(zero_copy_only=False)
