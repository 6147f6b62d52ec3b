"""Admitted events as columns of numbers, and the frame in which expressions and models see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.ground.clock import micros, micros_of
from flightworthy.integration.contract import Contract, Rejection
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.check import instant
from flightworthy.manifest.expressions.machine import Programs
from flightworthy.manifest.pilot import Pilot, event_scope
from flightworthy.manifest.schema import FieldSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_LATEST = micros(datetime(2200, 1, 1, tzinfo=UTC))


class Columns:
    """Turns events into arrays, field by field, and checks what only numbers can tell."""

    def __init__(self, pilot: Pilot, contract: Contract) -> None:
        events = pilot.manifest.events
        self.contract = contract
        self._frame_fields = list(event_scope(pilot.manifest))
        self._entities = sorted(set(events.entities.values()))
        self._distinct = sorted({c.aggregate.field for c in pilot.columns if c.aggregate.op in ("distinct", "count")
                                 and c.aggregate.field in events.fields
                                 and events.fields[str(c.aggregate.field)].type == "text"} - {None})
        self._decimals = {n: float(10 ** (2 if s.scale is None else s.scale))
                          for n, s in events.fields.items() if s.type == "decimal"}
        self._future = events.future
        self._take: dict[str, Callable[[Sequence[Any]], Floats]] = {
            name: _taker(name, spec) for name, spec in events.fields.items() if spec.type in ("category", "time")}
        self._plain = [name for name in self._frame_fields if name != events.time and name not in self._take]
        self._values = attrgetter(*self._plain, *self._plain[:1])  # the first twice: of one name it would give no tuple
        self._time_spec = events.fields[events.time]

    def times(self, events: Sequence[Any]) -> Ints:
        """Event times (n) in microseconds."""
        return _times([getattr(e, self.contract.time_field) for e in events], self._time_spec)

    def numbers(self, events: Sequence[Any], times: Ints) -> dict[str, Floats]:
        """Every field expressions can read, (n) each: money in units, categories as codes, null as NaN."""
        values = list(chain.from_iterable(map(self._values, events))) if self._plain else []
        matrix = np.array(values, np.float64).reshape(len(events), len(self._plain) + 1 if self._plain else 0).T.copy()
        out = dict(zip(self._plain, matrix[: len(self._plain)], strict=True))
        out |= {name: take(events) for name, take in self._take.items() if name != self.contract.time_field}
        for name, scale in self._decimals.items():
            out[name] = np.where(self._close(out[name], scale), np.rint(out[name] * scale) / scale, out[name])
        out[self.contract.time_field] = times.astype(np.float64)
        return out

    def keys(self, events: Sequence[Any], state: FeatureState) -> dict[str, Ints]:
        """Entity fields as integers; words get their number from the state."""
        return {name: self._codes(name, events, state) for name in self._entities}

    def kept(self, events: Sequence[Any], numbers: dict[str, Floats], state: FeatureState) -> dict[str, Floats]:
        """Fields as the feature state keeps them: money in minor units, counted words as codes."""
        out = dict(numbers)
        for name, scale in self._decimals.items():
            out[name] = np.rint(numbers[name] * scale)
        for name in self._distinct:
            words = list(map(attrgetter(str(name)), events))
            out[str(name)] = np.full(len(words), np.nan)  # what is not there is not counted
            there = [i for i, word in enumerate(words) if word is not None]
            out[str(name)][there] = state.intern(str(name), [words[i] for i in there])
        return out

    def suspicious(self, numbers: dict[str, Floats], times: Ints, arrived: Ints) -> dict[int, Rejection]:
        """Rows whose values cannot stand, by index: excess digits of money, times out of bounds."""
        bad: dict[int, Rejection] = {}
        for name, scale in self._decimals.items():
            value = numbers[name]
            wrong = ~self._close(value, scale) & ~np.isnan(value)
            for row in np.flatnonzero(wrong).tolist():
                digits = round(math.log10(scale))
                bad[row] = Rejection("scale", name, f"{float(value[row])!r} has more than {digits} digits after the point")
        time_field = self.contract.time_field
        outside = np.abs(times) > _LATEST
        outside |= times > arrived + self._future
        for row in np.flatnonzero(outside).tolist():
            bad.setdefault(row, Rejection("time_bounds", time_field, "the event time lies too far from its arrival"))
        return bad

    @staticmethod
    def _close(value: Floats, scale: float) -> NDArray[np.bool_]:
        """Whether a number has no more digits than its scale. Binary noise in the last bits (85.64999999999999 for
        85.65) is not a third digit."""
        minor = value * scale
        close: NDArray[np.bool_] = np.abs(np.rint(minor) - minor) <= 4 * np.spacing(np.abs(minor))
        return close

    def _codes(self, name: str, events: Sequence[Any], state: FeatureState) -> Ints:
        values = list(map(attrgetter(name), events))
        if self.contract.spec[name].type == "integer":
            return np.array(values, np.int64)
        return state.intern(name, values)


class Frames:
    """Frame layout: fields, aggregates, derived features, model outputs, scratch; null is NaN.

    A frame has shape (rows, ``width``); the ``scratch`` columns at its end hold what a policy computes.
    """

    def __init__(self, pilot: Pilot, scratch: int = 0) -> None:
        fields = list(event_scope(pilot.manifest))
        names = [*fields, *pilot.feature_names, *pilot.outputs]
        self.index = {name: i for i, name in enumerate(names)}
        self.width = len(names) + scratch
        self.scratch = len(names)
        self._fields = fields
        self._first = len(fields)
        self._aggregates = len(pilot.columns)
        self.features = slice(self._first, self._first + len(pilot.feature_names))
        self.outputs = slice(self.features.stop, self.scratch)
        self.inputs = np.array([self.index[name] for name in pilot.inputs], np.int64)
        self._derived = Programs([(tree, self.index[name]) for name, tree in pilot.derived.items()], self.index)

    def build(self, numbers: dict[str, Floats], aggregates: Floats) -> Floats:
        """The frame with derived features filled and outputs empty (NaN)."""
        frame = np.full((len(aggregates), self.width), np.nan)
        for i, name in enumerate(self._fields):
            frame[:, i] = numbers[name]
        frame[:, self._first : self._first + self._aggregates] = aggregates
        self._derived.run(frame)
        return frame


def _taker(name: str, spec: FieldSpec) -> Callable[[Sequence[Any]], Floats]:
    get = attrgetter(name)
    if spec.type == "category":
        codes: dict[Any, float] = {word: float(i) for i, word in enumerate(spec.values or ())} | {None: math.nan}
        return lambda events: np.array([codes[get(e)] for e in events], np.float64)
    return lambda events: _nullable_times([get(e) for e in events], spec)


def _times(values: list[Any], spec: FieldSpec) -> Ints:
    if spec.unit is not None:
        start = instant(spec.origin) if spec.origin else 0
        return np.array([start + v * spec.unit for v in values], np.int64)
    return micros_of(values)


def _nullable_times(values: list[Any], spec: FieldSpec) -> Floats:
    out = np.full(len(values), np.nan)
    known = [i for i, v in enumerate(values) if v is not None]
    if known:
        out[known] = _times([values[i] for i in known], spec)
    return out
