"""What another model would have decided: the events of a period asked again, with what differs in bits, actions, money."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from flightworthy.decision.explore import Recorded
from flightworthy.decision.fallback import CHAMPION
from flightworthy.decision.line import Line, Moments
from flightworthy.decision.recovery import Stretch, begin, features_of, stretches
from flightworthy.decision.route import HOLDOUT
from flightworthy.decision.valuation import Truths, exact_fields
from flightworthy.governance.ledger import Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.canonical import encode
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.asked import LoadedModel
from flightworthy.objective.value import Pricer


@dataclass
class WhatIf:
    """Of the decisions that arrived in the period. The control group is not counted: the baseline decides it whatever the model.
    ``bits``: model outputs that differ; ``actions``: decisions that differ; ``changes``: "as it was → as it would be" → how
    often; ``priced``: decisions whose outcome is known, worth ``worth`` as they were and ``worth_instead`` as they would be. The
    money assumes that the truth does not depend on the action."""

    model: str
    currency: str
    decisions: int = 0
    held_out: int = 0
    erased: int = 0
    bits: int = 0
    actions: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    priced: int = 0
    worth: Decimal = Decimal(0)
    worth_instead: Decimal = Decimal(0)

    @property
    def difference(self) -> Decimal:
        """What the other model would have been worth more."""
        return self.worth_instead - self.worth


def what_if(pilot: Pilot, ledger: Ledger, model: LoadedModel, since: int, until: int, now: int,
            vault: Vault | None = None, base: Path | None = None) -> WhatIf:
    """Ask ``model`` again for all decisions that arrived in [since, until) (microseconds UTC), with outcomes known at ``now``
    (event time). Streams: memory holds labels and the feature state. Raises `ModelError` when the model was made for other
    features."""
    line = Line(pilot, {CHAMPION: model}, vault)
    out, changes = WhatIf(model.digest, pilot.manifest.objective.currency), Counter[str]()
    truths, (state, saved) = Truths(line, ledger, now), begin(line, base)
    pricer, exact = Pricer(pilot), exact_fields(pilot)
    for stretch in stretches(line, ledger, saved.seq + 1):
        frame = features_of(line, state, stretch)
        rows = []
        for row, record in enumerate(stretch.records):
            if since <= record.arrived < until:
                out.erased += record.erased
                out.held_out += record.arm == HOLDOUT and not record.erased
                if record.arm != HOLDOUT and not record.erased:
                    rows.append(row)
        if not rows:
            continue
        for old, new in _again(line, stretch, frame[rows], rows):
            out.decisions += 1
            out.bits += encode(old.outputs) != encode(new.outputs)
            before, after = (old.action, old.quantity), (new.action, new.quantity)
            if before != after:
                out.actions += 1
                changes[f"{old.action} → {new.action}"] += 1
            label, _ = truths.of(old.seq, int(line.columns.times([old.event])[0]))
            if label is not None:
                fields = exact(old.event)
                out.priced += 1
                out.worth += pricer.price(fields, label, *before)
                out.worth_instead += pricer.price(fields, label, *after)
    out.changes = dict(changes.most_common())
    return out


def _again(line: Line, stretch: Stretch, frame: Any, rows: list[int]) -> list[tuple[Any, Any]]:
    records = [stretch.records[row] for row in rows]
    scored = line.chain.score(line.inputs(frame))
    moments = Moments([r.arrived for r in records], [r.decided for r in records], [r.clocks for r in records])
    made = line.decide([r.event for r in records], [r.seq for r in records], frame, [r.arm for r in records],
                       scored.outputs, scored.paths, moments, (), Recorded([r.explore for r in records]))
    return list(zip(records, made, strict=True))
