"""Train a pilot on a file and keep what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightworthy.decision.learn import History, Labelled, read_history, table_of
from flightworthy.decision.line import Line
from flightworthy.decision.rooms import Rooms
from flightworthy.ground import registry
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import Row, Source
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import ModelStore
from flightworthy.model.card import card
from flightworthy.model.train import Trained, train
from flightworthy.operation.feed import Peek


@dataclass(frozen=True)
class Learned:
    """A trained model, the history behind it, and where its files are."""

    trained: Trained
    history: History
    artifact_path: Path
    card_path: Path


def open_source(url: str, pilot: Pilot) -> Source:
    """The source behind a URL or path. Raises `AdapterError` or `DataError`."""
    full = url if ":" in url.partition("/")[0] else f"file://{url}"
    opened: Source = registry.find("sources", full)(full, pilot=pilot)
    return opened


def labelled(pilot: Pilot, past: Iterable[Row],
             outcomes: Mapping[Any, tuple[float, int | None]] | None = None) -> Iterable[Labelled]:
    """Rows of a history with their labels: their own, or those of separate outcomes by event id."""
    peek = Peek(pilot)
    for row in past:
        label, known_at = row.label, row.known_at
        if outcomes is not None:
            label, known_at = outcomes.get(str(peek.event(row.raw)[1]), (label, known_at))
        yield Labelled(row.raw, float("nan") if label is None else label, known_at)


def outcomes_by_id(pilot: Pilot, raws: Iterable[Raw]) -> dict[Any, tuple[float, int | None]]:
    """Outcome records as a table; the last one for an event counts. Unreadable ones are left out and counted under
    the key None."""
    from flightworthy.integration.contract import RejectionError
    from flightworthy.integration.outcomes import OutcomeContract

    contract = OutcomeContract(pilot)
    table: dict[Any, tuple[float, int | None]] = {}
    bad = 0
    for raw in raws:
        try:
            outcome = contract.read(raw)
        except RejectionError:
            bad += 1
            continue
        table[outcome.event_id] = (outcome.label, outcome.known_at)
    if bad:
        table[None] = (float(bad), None)
    return table


def learn(pilot: Pilot, past: Iterable[Labelled], base: Path, now: int | None = None,
          champion: bool = True) -> Learned:
    """Replay the past, train on what is labelled at ``now`` (default: the last event time), store artefact and card, and
    make it ``champion``.

    Raises `DataError` or `ModelError`.
    """
    line = Line(pilot, {})
    history = read_history(line, past)
    moment = int(history.times[-1]) + 1 if now is None else now
    trained = train(pilot, table_of(pilot, line, history, moment))
    store = ModelStore(Rooms.of(pilot, base).models)
    path = store.save(trained.artifact, champion)
    card_path = path.with_suffix(".md")
    card_path.write_text(card(pilot, trained, history.refused), encoding="utf-8")
    return Learned(trained, history, path, card_path)
