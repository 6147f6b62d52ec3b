"""Training is replay: history through the contract and the features, then fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.line import FeatureRows, Line
from flightworthy.ground.errors import DataError
from flightworthy.integration.contract import Raw, Rejection, RejectionError
from flightworthy.integration.sources import AT_ONCE
from flightworthy.manifest.expressions.machine import Programs
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.train import Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """A past event with its label (NaN: none) and when that became known (microseconds; None: event time + delay)."""

    raw: Raw
    label: float
    known_at: int | None = None


@dataclass
class History:
    """Replayed history: frame (n, columns), labels (n; NaN unknown), event times and known-at times (n), events, and
    what the contract refused, by reason."""

    frame: Floats
    labels: Floats
    times: Ints
    known: Ints
    events: list[Any]
    refused: dict[str, int] = field(default_factory=dict)


def read_history(line: Line, past: Iterable[Labelled]) -> History:
    """Contract and features over the past, in order of event time; an outcome takes effect when it became known, before
    events of the same instant. Raises `DataError` when nothing can be read."""
    events, labels, known, refused = _read(line, past)
    if not events:
        raise DataError("no event of the history fits the contract", found=refused,
                        next_step="run: flightworthy check, and look at the reasons")
    times = line.columns.times(events)
    late = known == np.iinfo(np.int64).min
    known = np.where(late, times + line.pilot.manifest.outcomes.delay, np.maximum(known, times))
    order = np.argsort(times, kind="stable")
    events = [events[i] for i in order.tolist()]
    times, labels, known = times[order], labels[order], known[order]
    history = History(np.zeros((0, 0)), labels, times, known, events, refused)
    history.frame = line.features(line.state(), ordered(line, history))
    return history


def table_of(pilot: Pilot, line: Line, history: History, now: int, since: int | None = None) -> Table:
    """Rows whose label is known at ``now``, as the model will see them.

    Where absence has a meaning, rows younger than the delay are left out even when their label is known: of those, one
    kind is reported early, and a model that sees only it learns that young means bad.
    """
    outcomes, spec = pilot.manifest.outcomes, pilot.manifest.model
    labels = history.labels.copy()
    matured = history.times + outcomes.delay <= now
    known = ~np.isnan(labels) & (history.known <= now)
    if outcomes.absent is not None:
        labels[~known & matured] = float(outcomes.absent)
        known = matured
    start = max(since or -(2**62), now - spec.train.history if spec.train.history is not None else -(2**62))
    rows = np.flatnonzero(known & (history.times >= start) & (history.times < now))
    y = _target(pilot, labels[rows])
    picked = [history.events[i] for i in rows.tolist()]
    split = spec.train.split.by
    split_field = pilot.assigned_by if split == "time" else pilot.manifest.events.entities[split]
    return Table(np.ascontiguousarray(line.inputs(history.frame[rows])), y, history.times[rows],
                 _codes(picked, split_field), _codes(picked, pilot.assigned_by))


@dataclass(frozen=True)
class Fit:
    """Which of some records fit the contract: their events and times (m), their places among all, and why the others do not."""

    events: list[Any]
    times: Ints
    places: list[int]
    refused: dict[int, Rejection]


def admitted(line: Line, raws: Sequence[Raw]) -> Fit:
    """Records of the past through the contract, whatever their ids."""
    events, refused = line.contract.read_all(raws), dict[int, Rejection]()
    places = list(range(len(raws)))
    if events is None:
        events, places = [], []
        for place, raw in enumerate(raws):
            try:
                events.append(line.contract.read(raw))
                places.append(place)
            except RejectionError as error:
                refused[place] = error.rejection
    times = line.columns.times(events)
    bad = line.columns.suspicious(line.columns.numbers(events, times), times, 2**62)
    if not bad:
        return Fit(events, times, places, refused)
    refused |= {places[i]: rejection for i, rejection in bad.items()}
    stay = [i for i in range(len(events)) if i not in bad]
    return Fit([events[i] for i in stay], times[stay], [places[i] for i in stay], refused)


def _read(line: Line, past: Iterable[Labelled]) -> tuple[list[Any], Floats, Ints, dict[str, int]]:
    events: list[Any] = []
    labels: list[float] = []
    known: list[int] = []
    refused: Counter[str] = Counter()
    seen: set[str] = set()
    rows = iter(past)
    while chunk := list(islice(rows, AT_ONCE)):
        fit = admitted(line, [item.raw for item in chunk])
        refused.update(rejection.reason for rejection in fit.refused.values())
        for event, place, name in zip(fit.events, fit.places, line.contract.event_ids(fit.events), strict=True):
            if name in seen:
                refused["duplicate"] += 1
                continue
            seen.add(name)
            events.append(event)
            labels.append(chunk[place].label)
            at = chunk[place].known_at
            known.append(np.iinfo(np.int64).min if at is None else at)
    return events, np.array(labels, np.float64), np.array(known, np.int64), dict(refused)


def ordered(line: Line, past: History) -> FeatureRows:
    """The rows a history makes: events and outcomes merged by the time they take
    effect, outcomes first."""
    events, times, labels, known = past.events, past.times, past.labels, past.known
    told = np.flatnonzero(~np.isnan(labels) & ~(labels == line.no_label))
    n = len(events)
    kinds = np.r_[np.zeros(n, np.int64), np.ones(len(told), np.int64)]
    origin = np.r_[np.arange(n), told]
    order = np.lexsort((origin, -kinds, np.r_[times, known[told]]))
    values = np.r_[np.full(n, line.no_label), labels[told]]
    origin = origin[order]
    return FeatureRows(kinds[order], [events[i] for i in origin.tolist()], origin, values[order])


def _target(pilot: Pilot, labels: Floats) -> Floats:
    frame = np.column_stack([labels, np.empty(len(labels))])
    Programs([(pilot.target, 1)], {pilot.manifest.outcomes.label: 0}).run(frame)
    return np.ascontiguousarray(frame[:, 1])


def _codes(events: Sequence[Any], field_name: str) -> Ints:
    table: dict[Any, int] = {}
    return np.array([table.setdefault(getattr(event, field_name), len(table)) for event in events], np.int64)
