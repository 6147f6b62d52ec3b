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
from flightworthy.integration.exact import doubtful, settle
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.check import instant
from flightworthy.manifest.expressions.machine import Programs
from flightworthy.manifest.pilot import Pilot, event_scope
from flightworthy.manifest.schema import FieldSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_LATEST = micros(datetime(2200, 1, 1, tzinfo=UTC))


class Columns:
    """Turns events into numbers, and checks what only numbers can tell."""

    def __init__(self, pilot: Pilot, contract: Contract) -> None:
        events = pilot.manifest.events
        self.contract = contract
        fields = list(event_scope(pilot.manifest))
        self._place = {name: i for i, name in enumerate(fields)}
        self._entities = sorted(set(events.entities.values()))
        aggregated = {str(c.aggregate.field) for c in pilot.columns if c.aggregate.field in events.fields}
        words = {str(c.aggregate.field) for c in pilot.columns if c.aggregate.op in ("distinct", "count")}
        self._distinct = sorted(name for name in words & aggregated if events.fields[name].type == "text")
        self._kept = sorted(name for name in aggregated if name in self._place)
        self._decimals = {n: float(10 ** (2 if s.scale is None else s.scale))
                          for n, s in events.fields.items() if s.type == "decimal"}
        self._money = np.array([self._place[name] for name in self._decimals], np.int64)
        self._scales = np.array(list(self._decimals.values()), np.float64)
        self._future = events.future
        self._take: dict[str, Callable[[Sequence[Any]], Floats]] = {
            name: _taker(name, spec) for name, spec in events.fields.items()
            if spec.type in ("category", "time") and name != events.time}
        plain = [name for name in fields if name != events.time and name not in self._take]
        self._plain = np.array([self._place[name] for name in plain], np.int64)
        self._values = attrgetter(*plain, *plain[:1]) if plain else None  # the first twice: of one name it would give no tuple
        self._time_spec = events.fields[events.time]

    def warm(self) -> None:
        """Load the compiled code, so that nobody waits for it later."""
        times = self.times([])
        self.suspicious(self.numbers([], times), times, 0)

    def times(self, events: Sequence[Any]) -> Ints:
        """Event times (n) in microseconds."""
        return _times([getattr(e, self.contract.time_field) for e in events], self._time_spec)

    def numbers(self, events: Sequence[Any], times: Ints) -> Floats:
        """Every field expressions can read (n, fields), in the order of `event_scope`: money in units, categories as codes, null
        as NaN."""
        out = np.empty((len(events), len(self._place)))
        if self._values is not None:
            out[:, self._plain] = _floats(events, self._values, len(self._plain) + 1)[:, :-1]
        for name, take in self._take.items():
            out[:, self._place[name]] = take(events)
        if len(self._money):
            settle(out, self._money, self._scales)
        out[:, self._place[self.contract.time_field]] = times
        return out

    def keys(self, events: Sequence[Any], state: FeatureState) -> dict[str, Ints]:
        """Entity fields as integers; words get their number from the state."""
        return {name: self._codes(name, events, state) for name in self._entities}

    def kept(self, events: Sequence[Any], numbers: Floats, state: FeatureState) -> dict[str, Floats]:
        """Fields as the feature state keeps them (n, each): money in minor units, counted words as codes."""
        out = {name: numbers[:, self._place[name]] for name in self._kept}
        for name in out.keys() & self._decimals.keys():
            out[name] = np.rint(out[name] * self._decimals[name])
        for name in self._distinct:
            words = list(map(attrgetter(name), events))
            out[name] = np.full(len(words), np.nan)  # what is not there is not counted
            there = [i for i, word in enumerate(words) if word is not None]
            out[name][there] = state.value_codes(name, [words[i] for i in there])
        return out

    def suspicious(self, numbers: Floats, times: Ints, arrived: int) -> dict[int, Rejection]:
        """Rows whose values cannot stand, by index: excess digits of money, times out of bounds (``arrived``: microseconds)."""
        bad: dict[int, Rejection] = {}
        if not doubtful(numbers, self._money, self._scales, times, _LATEST, arrived, self._future):
            return bad
        for name, scale in self._decimals.items():
            value = numbers[:, self._place[name]]
            wrong = (np.rint(value * scale) / scale != value) & ~np.isnan(value)
            for row in np.flatnonzero(wrong).tolist():
                digits = round(math.log10(scale))
                bad[row] = Rejection("scale", name, f"{float(value[row])!r} has more than {digits} digits after the point")
        outside = (np.abs(times) > _LATEST) | (times > arrived + self._future)
        for row in np.flatnonzero(outside).tolist():
            bad.setdefault(row, Rejection("time_bounds", self.contract.time_field,
                                          "the event time lies too far from its arrival"))
        return bad

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
        self._first = len(fields)
        self._aggregates = len(pilot.columns)
        self.features = slice(self._first, self._first + len(pilot.feature_names))
        self.outputs = slice(self.features.stop, self.scratch)
        self.inputs = np.array([self.index[name] for name in pilot.inputs], np.int64)
        self._derived = Programs([(tree, self.index[name]) for name, tree in pilot.derived.items()], self.index)

    def build(self, numbers: Floats, aggregates: Floats) -> Floats:
        """The frame with derived features filled and outputs empty (NaN)."""
        frame = np.full((len(aggregates), self.width), np.nan)
        frame[:, : self._first] = numbers
        frame[:, self._first : self._first + self._aggregates] = aggregates
        self._derived.run(frame)
        return frame

    def rebuild(self, numbers: Floats, features: Floats) -> Floats:
        """The frame of decisions whose features were kept (n, features)."""
        frame = np.full((len(features), self.width), np.nan)
        frame[:, : self._first] = numbers
        frame[:, self.features] = features
        return frame


def _floats(events: Sequence[Any], values: Callable[[Any], tuple[Any, ...]], width: int) -> Floats:
    """What ``values`` takes of each event, as numbers (n, width)."""
    flat = chain.from_iterable(map(values, events))
    try:
        return np.fromiter(flat, np.float64, len(events) * width).reshape(len(events), width)
    except TypeError:  # one of them is null
        return np.array(list(map(values, events)), np.float64).reshape(len(events), width)


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
