"""Replay: recompute every decision from the recorded events and compare every bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.decision.explore import Recorded
from flightworthy.decision.fallback import CHALLENGER, CHAMPION, PREVIOUS
from flightworthy.decision.line import Line, Moments
from flightworthy.decision.record import entries_of
from flightworthy.decision.recovery import Stretch, begin, course_at, features_of, stretches
from flightworthy.governance.ledger import Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import ModelStore
from flightworthy.model.asked import LoadedModel

SHOWN = 20


@dataclass
class ReplayReport:
    """What a replay found. ``other_manifest`` decisions were made under another manifest and only advanced the state;
    those about people who were ``erased`` cannot be recomputed; ``differences`` names the members of the first records that
    differ."""

    decisions: int = 0
    outcomes: int = 0
    mismatches: int = 0
    other_manifest: int = 0
    erased: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)

    def __add__(self, other: ReplayReport) -> ReplayReport:
        """Of both ledgers together."""
        return ReplayReport(self.decisions + other.decisions, self.outcomes + other.outcomes, self.mismatches + other.mismatches,
                            self.other_manifest + other.other_manifest, self.erased + other.erased,
                            (self.differences + other.differences)[:SHOWN])


def replay(pilot: Pilot, ledger: Ledger, models: Path, line: Line | None = None, vault: Vault | None = None,
           base: Path | None = None) -> ReplayReport:
    """Recompute the whole ledger with the models it names; where records expired, from ``base``, the state
    they left. Raises `ModelError` when one of them is missing."""
    store = ModelStore(models)
    loaded: dict[str, LoadedModel] = {}
    line = line or Line(pilot, {}, vault)
    (state, saved), report = begin(line, base), ReplayReport()
    line.follow(course_at(line, ledger, saved.seq))
    for stretch in stretches(line, ledger, saved.seq + 1):
        frame = features_of(line, state, stretch)
        ours = [row for row, record in enumerate(stretch.records) if record.pilot.hex() == line.pilot.digest]
        report.other_manifest += len(stretch.records) - len(ours)
        report.erased += sum(stretch.records[row].erased for row in ours)
        ours = [row for row in ours if not stretch.records[row].erased]
        for name in {r.model.hex() for r in (stretch.records[row] for row in ours) if r.model is not None} - loaded.keys():
            loaded[name] = LoadedModel(store.load(name), pilot.folder)
        report.outcomes += len(stretch.truths)
        for rows, models_now in _by_models(stretch, ours, loaded):
            line.use(models_now)
            _compare(line, stretch, frame[rows], rows, report)
        if stretch.turn is not None:
            line.follow(stretch.turn)
    return report


def _by_models(stretch: Stretch, ours: list[int],
               loaded: dict[str, LoadedModel]) -> list[tuple[list[int], dict[str, LoadedModel]]]:
    """Rows that were decided with the same models, with those models."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for row in ours:
        record = stretch.records[row]
        groups.setdefault((record.path[-1], record.model and record.model.hex()), []).append(row)
    return [(rows, {step: loaded[name]} if name is not None and step in (CHALLENGER, CHAMPION, PREVIOUS) else {})
            for (step, name), rows in groups.items()]


def _compare(line: Line, stretch: Stretch, frame: Any, rows: list[int], report: ReplayReport) -> None:
    records = [stretch.records[row] for row in rows]
    step = records[0].path[-1]
    outputs = np.full((len(rows), len(line.pilot.outputs)), np.nan)
    if step in line.chain.models:
        outputs = line.chain.models[step].predict(line.inputs(frame))
    moments = Moments([r.arrived for r in records], [r.decided for r in records], [r.clocks for r in records])
    again = line.decide([r.event for r in records], [r.seq for r in records], frame,
                        line.route([r.event for r in records]), outputs, [r.path for r in records], moments,
                        [r.consent for r in records], Recorded([r.explore for r in records]))
    before = [stretch.entries[row].content for row in rows] if line.veil is None else entries_of(records).contents
    for old, new, was, now in zip(records, again, before, entries_of(again).contents, strict=True):
        report.decisions += 1
        if was != now:
            report.mismatches += 1
            if len(report.differences) < SHOWN:
                report.differences.append({"seq": old.seq, "id": old.id, "members": _differing(old, new)})


def _differing(old: Any, new: Any) -> list[str]:
    """Members whose canonical bytes differ."""
    from flightworthy.ground.canonical import encode

    names = [n for n in old.__struct_fields__ if encode(getattr(old, n)) != encode(getattr(new, n))]
    return names or ["(bytes only)"]
