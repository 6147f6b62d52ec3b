"""A new version of manifest or models under a running engine: made ready beside it, then put in its place between two
batches. What cannot be made ready is refused, and the old version keeps deciding."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from flightworthy.decision.engine import Engine
from flightworthy.decision.fallback import CHALLENGER
from flightworthy.decision.line import FeatureRows, Line, check_fit
from flightworthy.decision.recovery import advance_from_ledger
from flightworthy.decision.rooms import load_models
from flightworthy.governance.ledger import DECISION
from flightworthy.ground.errors import DataError, ModelError
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.load import load

TRIED = 32


@dataclass
class Renewed:
    """A line that is ready, and the feature state it needs where its features are others; ``seen``: the last ledger entry
    in that state."""

    line: Line
    state: FeatureState | None
    seen: int

    def catch_up(self, engine: Engine) -> None:
        """Take in what was decided meanwhile; no batch may be under way. Raises `LedgerError` when newer entries do not fit,
        `ModelError` when a challenger that was started meanwhile does not."""
        _fits(engine, self.line)
        if self.state is not None:
            until = engine.admission.next_seq - 1  # what another writer adds is taken in by the engine's next turn
            advance_from_ledger(self.line, self.state, engine.ledger, self.seen + 1, until)
            self.seen = until

    def swap(self, engine: Engine) -> None:
        """Put it in place; no batch may be under way. Raises what `catch_up` does; then nothing has changed."""
        self.catch_up(engine)
        engine.adopt(self.line, self.state)


def renew(engine: Engine, folder: Path) -> Renewed:
    """Read the pilot's folder and its models again, and try the result. Raises `ManifestError`, `DataError`,
    `ModelError` or `LedgerError`."""
    pilot = load(folder)
    if (pilot.name, pilot.manifest.adapters.ledger) != (engine.pilot.name, engine.pilot.manifest.adapters.ledger):
        raise DataError("a reload cannot move to another pilot or another ledger", where=str(folder),
                        found=f"{pilot.name}, {pilot.manifest.adapters.ledger}", next_step="start a service of its own")
    if (pilot.manifest.privacy is None) != (engine.vault is None):
        raise DataError("whether people are protected cannot change under a running service", where=str(folder),
                        found="privacy", next_step="start the service again")
    line = Line(pilot, load_models(pilot, engine.models_folder), engine.vault)
    line.guards = engine.line.guards
    line.use(line.chain.models)
    _fits(engine, line)
    _try(engine, line)
    if pilot.recipe_digest == engine.pilot.recipe_digest:
        return Renewed(line, None, 0)
    state, seen = engine.fresh(line), min(engine.ledger.last(), engine.admission.next_seq - 1)
    advance_from_ledger(line, state, engine.ledger, 1, seen)
    return Renewed(line, state, seen)


def _fits(engine: Engine, line: Line) -> None:
    challenger = engine.line.chain.models.get(CHALLENGER)
    if challenger is not None:
        check_fit(line.pilot, challenger)


def _try(engine: Engine, line: Line) -> None:
    """Features and model of the new version on events that were decided lately, or on a typical row before there are any."""
    first = max(1, engine.ledger.last() - TRIED)
    entries = list(islice(engine.ledger.scan(first, (DECISION,)), TRIED))
    events = [line.records.read(entry).event for entry in entries]
    champion = line.chain.models["champion"]
    x = champion.references[None, :]
    if events:
        n = len(events)
        rows = FeatureRows(np.zeros(n, np.int64), events, np.arange(n), np.full(n, line.no_label))
        x = line.inputs(line.features(line.state(), rows))
    answer = champion.predict(x)
    if answer.shape != (len(x), len(line.pilot.outputs)) or not np.isfinite(answer).all():
        raise ModelError("the new champion gives answers that are not finite", where=champion.digest[:12],
                         found=answer.tolist()[:3], next_step="train again, or roll the model back")
