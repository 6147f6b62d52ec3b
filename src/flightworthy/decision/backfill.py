"""Features of a whole history, as they were when each event came: what training computes, for more than memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from flightworthy.decision.learn import admitted
from flightworthy.decision.line import FeatureRows, Line
from flightworthy.decision.work import EVENT
from flightworthy.integration.archive import UNKNOWN, Archive, Floats, Ints, Put, Told
from flightworthy.integration.contract import Raw, Rejection, RejectionError
from flightworthy.integration.outcomes import OutcomeContract
from flightworthy.integration.sources import AT_ONCE, Records, Row, chunked

Refuse = Callable[[Raw, Rejection], None]


@dataclass
class Backfilled:
    """What became of the records of a history."""

    events: int = 0
    outcomes: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, reason: str, times: int = 1) -> None:
        """One more, or several."""
        if times:
            self.refused[reason] = self.refused.get(reason, 0) + times


def put_all(line: Line, archive: Archive, past: Iterable[Records], refuse: Refuse, made: Backfilled) -> None:
    """Put events down that fit the contract."""
    for chunk in past:
        archive.put(fitting(line, chunk, refuse, made)[0])


def tell_all(line: Line, archive: Archive, outcomes: Iterable[Raw], refuse: Refuse, made: Backfilled) -> None:
    """Put outcomes down that come in a file of their own."""
    for chunk in chunked(map(Row, outcomes), AT_ONCE):
        archive.tell(told(line, chunk.raws, refuse, made))


def fitting(line: Line, chunk: Records, refuse: Refuse, made: Backfilled) -> tuple[Put, list[Any]]:
    """Events that fit the contract, as they are put down and as they are."""
    fit = admitted(line, chunk.raws)
    for place, rejection in fit.refused.items():
        made.refuse(rejection.reason)
        refuse(chunk.raws[place], rejection)
    labels = _of(chunk.labels, fit.places, np.nan, np.float64)
    known = _of(chunk.known_at, fit.places, UNKNOWN, np.int64)
    bodies = list(map(msgspec.msgpack.Encoder().encode, fit.events))
    return Put(line.contract.event_ids(fit.events), fit.times, labels, known, bodies), fit.events


def told(line: Line, raws: Sequence[Raw], refuse: Refuse, made: Backfilled) -> Told:
    """Outcomes that can be read."""
    contract = OutcomeContract(line.pilot)
    ids, labels, known = list[str](), list[float](), list[int]()
    for raw in raws:
        try:
            outcome = contract.read(raw)
        except RejectionError as error:
            made.refuse(error.rejection.reason)
            refuse(raw, error.rejection)
            continue
        ids.append(outcome.event_id)
        labels.append(outcome.label)
        known.append(UNKNOWN if outcome.known_at is None else outcome.known_at)
    return Told(ids, np.array(labels, np.float64), np.array(known, np.int64))


def compute(line: Line, archive: Archive, made: Backfilled, watch: Callable[[int], None] = lambda _: None) -> None:
    """Features of all that was put down, into the archive's table; ``watch`` hears how many events are done."""
    made.refuse("duplicate", archive.close_in(line.pilot.manifest.outcomes.delay, line.no_label))
    state, decode = line.state(), msgspec.msgpack.Decoder(line.contract.event).decode
    for effect in archive.effects():
        events = list(map(decode, effect.bodies))
        labels = np.where(effect.kinds == EVENT, line.no_label, effect.labels)
        frame = line.features(state, FeatureRows(effect.kinds, events, effect.origins, labels))
        rows = np.flatnonzero(effect.kinds == EVENT)
        made.events += len(rows)
        made.outcomes += len(events) - len(rows)
        if len(rows):
            places = rows.tolist()
            archive.write(*table(line, [effect.ids[i] for i in places], [events[i] for i in places], effect.labels[rows],
                                 effect.known[rows], frame))
        watch(len(rows))


def table(line: Line, ids: Sequence[str], events: Sequence[Any], labels: Floats, known: Ints,
          frame: Floats) -> tuple[dict[str, Ints], dict[str, Any]]:
    """Events with their features as a table: instants, then all else. Private fields stay away."""
    manifest, features = line.pilot.manifest, frame[:, line.frames.features]
    private = {*line.contract.private, *line.contract.dropped}
    columns: dict[str, Any] = {manifest.events.id: ids}
    columns |= {name: [str(getattr(event, name)) for event in events] for name in manifest.events.entities.values()
                if name not in private}
    columns |= {name: np.ascontiguousarray(features[:, i]) for i, name in enumerate(line.pilot.feature_names)}
    columns[manifest.outcomes.label] = labels
    instants = {manifest.events.time: line.columns.times(events), "known_at": np.where(np.isnan(labels), UNKNOWN, known)}
    return instants, columns


def _of(values: Sequence[Any] | None, places: Sequence[int], nothing: float, kind: type[Any]) -> Any:
    if values is None:
        return np.full(len(places), nothing, kind)
    return np.array([nothing if values[place] is None else values[place] for place in places], kind)
