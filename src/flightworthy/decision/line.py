"""The line itself, from admitted events to records: features, route, model, policy, reasons.

Deterministic: what comes out depends on the events in their order, the models, the manifest, and the instants and
failures handed in. Live decisions, recovery and replay all run this code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.course import Course
from flightworthy.decision.explore import Chances, Explorer
from flightworthy.decision.fallback import BASELINE, CHALLENGER, CHAMPION, DEFAULT, PREVIOUS, SPILLED, Chain
from flightworthy.decision.guard import Guard
from flightworthy.decision.policy import Policy
from flightworthy.decision.record import VERSION, OutcomeRecord, Recorder
from flightworthy.decision.route import CHALLENGED, HOLDOUT, TREATED, Router
from flightworthy.decision.veil import Veil
from flightworthy.governance.ledger import DECISION, HISTORY, OUTCOME
from flightworthy.governance.privacy.vault import Vault
from flightworthy.governance.reasons import Reason, Reasons
from flightworthy.ground.errors import ModelError
from flightworthy.integration.batch import Columns, Frames
from flightworthy.integration.contract import Contract
from flightworthy.integration.features.plan import compile_groups
from flightworthy.integration.features.state import FeatureState, Rows
from flightworthy.manifest.expressions.tree import BOOLEAN
from flightworthy.manifest.pilot import ParsedRule, Pilot
from flightworthy.model.asked import LoadedModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_MODELS = (CHALLENGER, CHAMPION, PREVIOUS)


@dataclass(frozen=True)
class Moments:
    """Instants of a batch in microseconds, and its clocks; replay hands in what was recorded."""

    arrived: Sequence[int]
    decided: Sequence[int]
    clocks: Sequence[list[int]]


@dataclass(frozen=True)
class Choice:
    """What a policy says: rules (n), quantities (n; NaN: none)."""

    rules: Ints
    quantities: Floats

    def amounts(self) -> list[float | None]:
        """Quantities as records hold them."""
        if np.isnan(self.quantities).all():  # as nearly always
            return [None] * len(self.quantities)
        return [None if math.isnan(amount) else amount for amount in self.quantities.tolist()]


@dataclass(frozen=True)
class FeatureRows:
    """Rows for the feature state, in order: kinds (n); events (for an outcome, the one it belongs to); the event's
    number (n); label (n): of an outcome, or "none yet". Times and numbers of the events are computed when not given."""

    kinds: Ints
    events: Sequence[Any]
    seqs: Ints
    labels: Floats
    times: Ints | None = None
    numbers: Floats | None = None


class Line:
    """Everything a pilot compiles to. Immutable but for the feature state handed to it."""

    def __init__(self, pilot: Pilot, models: dict[str, LoadedModel], vault: Vault | None = None) -> None:
        manifest = pilot.manifest
        self.pilot, self._pilot_digest = pilot, bytes.fromhex(pilot.digest)
        self.contract = Contract(pilot)
        self.columns = Columns(pilot, self.contract)
        self.plans = compile_groups(pilot)
        default = [step for step in pilot.fallback if isinstance(step, ParsedRule)][:1]
        let = [] if pilot.explore is None else [pilot.explore, ParsedRule(None, pilot.explore.action, None)]
        self.frames = Frames(pilot, Policy.scratch(pilot.rules, pilot.baseline, default or pilot.baseline, let))
        self._policies = {
            CHAMPION: self._policy(pilot.rules, [r.if_ or "always" for r in manifest.policy.rules]),
            BASELINE: self._policy(pilot.baseline, [r.if_ or "always" for r in manifest.policy.baseline])}
        self._policies[PREVIOUS] = self._policies[CHALLENGER] = self._policies[CHAMPION]
        if default:
            self._policies[DEFAULT] = self._policy(default, ["always"])
        self._order = {step: i for i, step in enumerate(self._policies)}
        sizes = [len(policy.actions) for policy in self._policies.values()]
        self._first = np.cumsum([0, *sizes])  # where the rules of each policy begin among all actions
        self._names = [action for policy in self._policies.values() for action in policy.actions]
        self.steps = [CHAMPION, *(s if isinstance(s, str) else DEFAULT for s in pilot.fallback)]
        self.router = Router(manifest.rollout.salt or pilot.name, manifest.rollout.holdout)
        self.follow(Course())
        self._adverse = set(manifest.policy.adverse)
        self.explorer = None if pilot.explore is None else Explorer(
            self.router.salt, pilot.explore, {*self._adverse, *manifest.outcomes.hidden_by}, self.frames)
        self.veil = Veil(pilot, self.contract, vault) if manifest.privacy is not None else None
        self.records = Recorder(self.contract, self.veil)
        absent = manifest.outcomes.absent
        self.no_label = float("nan") if absent is None else float(absent)
        self._falling = pilot.target.type == BOOLEAN
        self.guards: dict[str, Guard] = {}  # step → its time limit; a live service sets them
        self.use(models)

    def follow(self, course: Course) -> None:
        """From here on assign as a rollout says."""
        self.router.follow(course)
        self._shares = {arm: self.router.propensity(arm) for arm in (TREATED, HOLDOUT, CHALLENGED)}

    def use(self, models: dict[str, LoadedModel]) -> None:
        """Set champion, previous and challenger. Raises `ModelError` when a model was made for other features or inputs."""
        for model in models.values():
            check_fit(self.pilot, model)
        self.chain = Chain(models, self.steps, len(self.pilot.outputs), self.guards)
        self._digests = {name: bytes.fromhex(model.digest) for name, model in models.items()}
        groups = self.pilot.manifest.governance
        words = {code: spec.say for code, spec in groups.reasons.items()}
        self._reasons = {name: Reasons(self.pilot.reasons, words, self.pilot.inputs, model.references,
                                       groups.max_reasons, self._falling) for name, model in models.items()}
        nothing = np.full(len(self.pilot.inputs), np.nan)
        self._rule_reasons = Reasons(self.pilot.reasons, words, self.pilot.inputs, nothing, groups.max_reasons, True)

    def remember(self, events: Sequence[Any], seqs: Sequence[int], arrived: int) -> list[Any]:
        """The records of events of the past."""
        return list(map(self.records.history, repeat(VERSION), repeat(HISTORY), seqs, self.contract.event_ids(events),
                        events, repeat(arrived)))

    def state(self) -> FeatureState:
        """A fresh feature state."""
        return FeatureState(self.plans)

    def warm(self) -> None:
        """Load all compiled code, also that of a shared state, so that no event waits for it."""
        nothing, state = np.zeros(0, np.int64), self.state()
        self.columns.warm()
        for group in state.groups:
            group.restore(*group.packed())
            group.stilled()  # the rows below call what copies for it
        self.features(state, FeatureRows(nothing, [], nothing, np.zeros(0)))

    # -- stages -------------------------------------------------------------------------------------------------
    def features(self, state: FeatureState, rows: FeatureRows) -> Floats:
        """Advance the state by rows; the frame of the event rows."""
        return self.frames.build(*self.aggregates(state, rows))

    def aggregates(self, state: FeatureState, rows: FeatureRows) -> tuple[Floats, Floats]:
        """Advance the state by rows; fields (n, fields) and aggregates (n, those of the state's plans) of the event rows."""
        kinds, events = rows.kinds, rows.events
        times = self.columns.times(events) if rows.times is None else rows.times
        numbers = self.columns.numbers(events, times) if rows.numbers is None else rows.numbers
        aggregates = state.apply(Rows(kinds, times, rows.seqs, rows.labels, self.columns.kept(events, numbers, state),
                                      self.columns.keys(events, state)))
        if kinds.any():
            asked = kinds == 0
            aggregates, numbers = aggregates[asked], numbers[asked]
        return numbers, aggregates

    def route(self, events: Sequence[Any]) -> list[str]:
        """The arm of each event."""
        return self.router.arms(list(map(attrgetter(self.pilot.assigned_by), events)))

    def inputs(self, frame: Floats) -> Floats:
        """What the model sees of a frame."""
        return frame[:, self.frames.inputs]

    def decide(self, events: Sequence[Any], seqs: Sequence[int], frame: Floats, arms: list[str], outputs: Floats,
               paths: list[list[str]], moments: Moments, consents: Sequence[int] = (),
               chances: Chances | None = None) -> list[Any]:
        """Policy, reasons and the complete records. ``consents``: the entries that gave them, where they are asked for;
        ``chances``: of adverse cases to be let through, none without."""
        ids = self.contract.event_ids(events)
        frame[:, self.frames.outputs] = outputs
        by = [BASELINE if arm == HOLDOUT and not path[0].startswith(SPILLED) else path[-1]
              for arm, path in zip(arms, paths, strict=True)]
        base = Choice(*self._policies[BASELINE].decide(frame))
        who = np.fromiter(map(self._order.__getitem__, by), np.int64, len(by))
        chosen = self._choose(frame, who, base)
        actions, explore = self._actions(who, chosen), [0.0] * len(by)
        if self.explorer is not None and chances is not None:
            modelled = [path[-1] in _MODELS for path in paths]
            for row, chance, through in self.explorer.cases(frame, ids, actions, modelled, chances):
                explore[row] = chance
                if through:
                    actions[row], chosen.quantities[row] = self.explorer.action, np.nan
        reasons = self._explain(frame, by, chosen.rules, actions)
        by_row: list[tuple[Reason, ...]] = [()] * len(events)
        for row, found in reasons.items():
            by_row[row] = tuple(found)
        return list(map(  # the members in the order of the record
            self.records.decision, repeat(VERSION), repeat(DECISION), seqs, ids, events,
            numbers_of(frame[:, self.frames.features]), arms, map(self._shares.__getitem__, arms),
            [self._digests.get(path[-1]) for path in paths], numbers_of(outputs), paths, by, chosen.rules.tolist(), actions,
            self._actions(np.full(len(by), self._order[BASELINE]), base), moments.arrived, moments.decided, moments.clocks,
            repeat(self._pilot_digest), chosen.amounts(), base.amounts(), by_row, consents or repeat(0), explore))

    def meant(self, record: Any) -> tuple[str, float | None]:
        """Action and quantity by the rule of a decision: another than its own where it was let through. Of one made under another
        manifest, whose rules are not these, its own."""
        if not self.explored(record):
            return record.action, record.quantity
        action = self._names[self._first[self._order[record.by]] + record.rule]
        return (record.action, record.quantity) if record.action == action else (action, None)

    def explored(self, record: Any) -> bool:
        """Whether a decision had a chance to be let through, under this manifest."""
        return bool(record.explore) and record.pilot == self._pilot_digest

    def would(self, frame: Floats, outputs: Floats) -> list[tuple[str, float | None]]:
        """Actions and quantities that follow from these answers of a model (n, outputs)."""
        frame[:, self.frames.outputs] = outputs
        choice = Choice(*self._policies[CHAMPION].decide(frame))
        return list(zip(self._actions(np.zeros(len(frame), np.int64), choice), choice.amounts(), strict=True))

    def _choose(self, frame: Floats, who: Ints, base: Choice) -> Choice:
        """Each row's rule and quantity by the policy that decides it."""
        if not len(who):
            return base
        out = Choice(base.rules.copy(), base.quantities.copy())
        for step, policy in self._policies.items():
            rows = who == self._order[step]
            if step != BASELINE and rows.any():
                rules, quantities = policy.decide(frame)
                out.rules[rows], out.quantities[rows] = rules[rows], quantities[rows]
        return out

    def _actions(self, who: Ints, choice: Choice) -> list[str]:
        """The names of what was chosen."""
        return list(map(self._names.__getitem__, (self._first[who] + choice.rules).tolist()))

    def _explain(self, frame: Floats, by: list[str], chosen: Ints, actions: list[str]) -> dict[int, list[Reason]]:
        """Reasons of the adverse rows, by row."""
        out: dict[int, list[Reason]] = {}
        asked: dict[str, list[int]] = {}
        for row in [i for i, action in enumerate(actions) if action in self._adverse]:
            step = by[row]
            if step in self._reasons:
                asked.setdefault(step, []).append(row)
            else:
                policy, rule = self._policies[step], int(chosen[row])
                out[row] = self._rule_reasons.of_rule(policy.reads[rule], policy.texts[rule])
        for step, rows in asked.items():
            part = frame[rows]
            score = part[:, self.frames.outputs.start]
            # A model that fails now must not lose a decision it already made: its reasons are then a combination.
            found = self._reasons[step].explain(self.inputs(part), score, partial(self._answer, step))
            out.update(zip(rows, found, strict=True))
        return out

    def _answer(self, step: str, x: Floats) -> Floats:
        return self.chain.ask(step, x)[0]

    def _policy(self, rules: Sequence[ParsedRule], texts: list[str]) -> Policy:
        return Policy(rules, texts, self.frames.index, self.frames.scratch)


def check_fit(pilot: Pilot, model: LoadedModel) -> None:
    """Raises `ModelError` when a model was made for other features or inputs."""
    if model.recipe_digest != pilot.recipe_digest or model.inputs != pilot.inputs:
        raise ModelError("the model was trained for another contract, features or inputs", where=model.digest[:12],
                         next_step="run: flightworthy train")


def numbers_of(values: Floats) -> list[list[float]]:
    """Rows of numbers; every NaN has the same bits, whichever operation made it."""
    return np.where(np.isnan(values), np.nan, values).tolist()  # type: ignore[no-any-return]


def outcome_record(seq: int, event_id: str, decision: int, label: float, known_at: int | None,
                   arrived: int) -> OutcomeRecord:
    """The record of an outcome; one that does not say when it became known, became known on arrival."""
    return OutcomeRecord(VERSION, OUTCOME, seq, event_id, decision, label, arrived if known_at is None else known_at,
                         arrived)
