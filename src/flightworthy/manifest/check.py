"""Meaning of a manifest: names, types and relations that its shape cannot say. Every mistake is collected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from flightworthy.ground.clock import micros, say
from flightworthy.ground.errors import Problem, nearest
from flightworthy.manifest.columns import Aggregate, Column, Window, aggregate, columns_of, window
from flightworthy.manifest.expressions import BOOLEAN, NUMBER, Expr, ExpressionError, Scope, Type, parse
from flightworthy.manifest.pilot import ParsedPrice, ParsedRule, Pilot, event_scope, outputs_of, value_scope
from flightworthy.manifest.schema import FieldSpec, Manifest, Privacy, Rule
from flightworthy.manifest.text import Path as Place
from flightworthy.manifest.text import Text

_ALLOWED = {
    "text": {"pattern", "max_length"}, "integer": {"min", "max"}, "number": {"min", "max"},
    "decimal": {"min", "max", "scale"}, "boolean": set(), "category": {"values"},
    "time": {"unit", "origin", "assume_utc"},
}
_DONE = {"pseudonymise": "pseudonymised", "drop": "left out"}
_CONSTRAINTS = set().union(*_ALLOWED.values())


class Checker:
    """Walks a manifest once and builds the `Pilot`; `problems` is complete afterwards."""

    def __init__(self, manifest: Manifest, text: Text, folder: Path) -> None:
        self.m, self.text, self.folder = manifest, text, folder
        self.problems: list[Problem] = []

    def pilot(self) -> Pilot | None:
        """The pilot, or None when there are problems."""
        self.fields()
        scope = event_scope(self.m)
        columns = self.groups(scope)
        derived, scope = self.derived(scope, columns)
        outputs = self.outputs(scope)
        label: Scope = {self.m.outcomes.label: BOOLEAN if self.m.outcomes.type == "boolean" else NUMBER}
        target = self.target(label)
        rules = self.rules(("policy", "rules"), self.m.policy.rules, {**scope, **outputs})
        baseline = self.rules(("policy", "baseline"), self.m.policy.baseline, scope)
        fallback = self.fallback(scope)
        prices = self.prices()
        inputs = self.inputs(scope, columns, derived)
        reasons = self.reasons([*scope])
        self.rollout()
        explore = self.explore({**scope, **outputs})
        if self.m.privacy is not None:
            self.privacy(self.m.privacy, columns)
        if self.problems or target is None:
            return None
        return Pilot(self.m, self.folder, tuple(columns), derived, target, inputs, rules, baseline, fallback, prices,
                     reasons, explore)

    def wrong(self, place: Place, message: str, **detail: str) -> None:
        self.problems.append(self.text.problem(place, message, **detail))

    def expression(self, place: Place, source: str, scope: Scope, expect: Type | None) -> Expr | None:
        try:
            return parse(source, scope, expect)
        except ExpressionError as error:
            self.wrong(place, str(error), found=source, hint=error.hint)
            return None

    def one_of(self, place: Place, name: str, known: Iterable[str], what: str) -> bool:
        known = list(known)
        if name not in known:
            self.wrong(place, f"unknown {what} '{name}'", hint=nearest(name, known))
        return name in known

    def attempt(self, place: Place, build: Callable[[str], Any], source: str) -> Any:
        try:
            return build(source)
        except ValueError as error:
            self.wrong(place, str(error), found=source)
            return None

    # -- events -------------------------------------------------------------------------------------------------
    def fields(self) -> None:
        events = self.m.events
        for name, spec in events.fields.items():
            self.field(("events", "fields", name), spec)
        for key, wanted in (("id", {"text", "integer"}), ("time", {"time"})):
            name = getattr(events, key)
            if self.one_of(("events", key), name, events.fields, "field"):
                spec = events.fields[name]
                if spec.type not in wanted:
                    self.wrong(("events", key), f"'{name}' is {spec.type}", expected=" or ".join(sorted(wanted)))
                if spec.nullable:
                    self.wrong(("events", "fields", name, "nullable"), f"the {key} of an event cannot be null")
        self.entities()
        self.reserved()
        if self.m.outcomes.label in events.fields:
            self.wrong(("outcomes", "label"), f"'{self.m.outcomes.label}' is also a field of the event",
                       hint="an outcome is not known when the event asks; name it differently")

    def reserved(self) -> None:
        """Names the value formula gives a meaning, and the type of what absence means."""
        for name in ("action", "quantity"):
            if name in self.m.events.fields:
                self.wrong(("events", "fields", name), f"'{name}' has a meaning in the value formula", hint="rename the field")
            if self.m.outcomes.label == name:
                self.wrong(("outcomes", "label"), f"'{name}' has a meaning in the value formula", hint="rename the label")
        absent = self.m.outcomes.absent
        if absent is not None and isinstance(absent, bool) != (self.m.outcomes.type == "boolean"):
            self.wrong(("outcomes", "absent"), f"the label is {self.m.outcomes.type}", found=str(absent))

    def entities(self) -> None:
        events = self.m.events
        for entity, name in events.entities.items():
            place = ("events", "entities", entity)
            if self.one_of(place, name, events.fields, "field"):
                spec = events.fields[name]
                if spec.type not in ("text", "integer", "category"):
                    self.wrong(place, f"'{name}' is {spec.type}", expected="text, integer or category")
                if spec.nullable:
                    self.wrong(place, f"'{name}' may be null; an entity must always be there")
        if not events.entities:
            self.wrong(("events", "entities"), "at least one entity is needed: it is what a rollout assigns")

    def field(self, place: Place, spec: FieldSpec) -> None:
        given = spec.model_fields_set & _CONSTRAINTS
        for extra in sorted(given - _ALLOWED[spec.type]):
            self.wrong((*place, extra), f"'{extra}' does not apply to {spec.type}",
                       hint=f"for {spec.type}: {', '.join(sorted(_ALLOWED[spec.type])) or 'none'}")
        if spec.type == "category" and not spec.values:
            self.wrong(place, "a category lists its values", hint="add values: [one, two]")
        if spec.values and len(set(spec.values)) != len(spec.values):
            self.wrong((*place, "values"), "a value is listed twice")
        if spec.min is not None and spec.max is not None and spec.min > spec.max:
            self.wrong((*place, "min"), f"min {spec.min} is above max {spec.max}")
        if spec.pattern is not None:
            self.attempt((*place, "pattern"), _compile, spec.pattern)
        if spec.origin is not None:
            self.attempt((*place, "origin"), instant, spec.origin)

    # -- features -----------------------------------------------------------------------------------------------
    def groups(self, scope: Scope) -> list[Column]:
        columns: list[Column] = []
        for name, group in self.m.features.groups.items():
            place: Place = ("features", "groups", name)
            for entity in [name] if group.by is None else group.by:
                self.one_of((*place, "by"), entity, self.m.events.entities, "entity")
            if group.limit & (group.limit - 1):
                self.wrong((*place, "limit"), f"{group.limit} is not a power of two",
                           hint=f"use {1 << group.limit.bit_length()}")
            if name in self.m.events.fields:
                self.wrong(place, f"'{name}' is also a field", hint="rename the group")
            made = self.group(place, name, scope)
            names = [column.name for column in made]
            for twice in sorted({n for n in names if names.count(n) > 1}):
                self.wrong((*place, "aggregate"), f"two features would be called '{twice}'", hint="rename an aggregate")
            columns += made
        return columns

    def group(self, place: Place, name: str, scope: Scope) -> list[Column]:
        group = self.m.features.groups[name]
        windows: list[Window] = []
        for index, source in enumerate(group.windows):
            span = self.attempt((*place, "windows", index), window, source)
            if span is not None:
                windows.append(span)
        if len({w.suffix for w in windows}) != len(windows):
            self.wrong((*place, "windows"), "a window is listed twice")
        aggregates: dict[str, Aggregate] = {}
        for key, source in group.aggregate.items():
            made = self.attempt((*place, "aggregate", key), aggregate, source)
            if made is not None and self.aggregate((*place, "aggregate", key), made, scope, bool(group.windows)):
                aggregates[key] = made
        return columns_of(name, windows, aggregates)

    def aggregate(self, place: Place, made: Aggregate, scope: Scope, windowed: bool) -> bool:
        if made.op in ("count", "sum", "mean", "min", "max", "std", "distinct") and not windowed:
            self.wrong(place, f"{made.op} needs windows", hint="add windows: [7d] to the group")
            return False
        if made.op == "distinct" and made.field == self.m.outcomes.label:
            self.wrong(place, "distinct of the label: labels are corrected later", hint=f"use mean({made.field})")
            return False
        if made.field is None or made.field == self.m.outcomes.label:
            return True
        fields = self.m.events.fields
        if not self.one_of(place, made.field, [*fields, self.m.outcomes.label], "field"):
            return False
        kind = fields[made.field].type
        wanted = {"distinct": ("text", "integer", "category", "boolean"),
                  "count": tuple(_ALLOWED)}.get(made.op, ("integer", "number", "decimal", "boolean"))
        if kind not in wanted:
            self.wrong(place, f"{made.op} of a {kind}", expected=", ".join(wanted))
        return kind in wanted

    def derived(self, scope: dict[str, Type], columns: list[Column]) -> tuple[dict[str, Expr], dict[str, Type]]:
        scope = {**scope, **{column.name: NUMBER for column in columns}}
        derived: dict[str, Expr] = {}
        for name, source in self.m.features.derived.items():
            place = ("features", "derived", name)
            if name in scope or name in self.m.events.fields:
                self.wrong(place, f"'{name}' is already the name of a field")
            tree = self.expression(place, source, scope, None)
            if tree is not None and tree.type.name not in ("number", "boolean"):
                self.wrong(place, f"a feature is a number or boolean, this is {tree.type}", found=source)
            if tree is not None:
                derived[name] = tree
            scope[name] = tree.type if tree is not None else NUMBER
        return derived, scope

    # -- model --------------------------------------------------------------------------------------------------
    def flavour(self) -> None:
        name, place = self.m.model.flavour, ("model", "flavour")
        kind, _, rest = name.partition(":")
        file, _, class_name = rest.rpartition(":")
        if name == "lightgbm":
            return
        if kind != "python" or not file or not class_name.isidentifier():
            self.wrong(place, f"unknown flavour '{name}'", hint=nearest(name, ["lightgbm", "python:FILE.py:CLASS"]),
                       expected="lightgbm, or python:FILE.py:CLASS")
        elif self.folder.resolve() not in (self.folder / file).resolve().parents or not (self.folder / file).is_file():
            self.wrong(place, f"no file '{file}' in the pilot's folder", hint=nearest(
                file, [path.name for path in self.folder.glob("*.py")]))

    def outputs(self, scope: Scope) -> dict[str, Type]:
        self.flavour()
        names = outputs_of(self.m)
        for name in names:
            if name in scope:
                self.wrong(("model",), f"the model's output '{name}' is also a field or feature", hint="rename it")
        if self.m.model.interval is not None and self.m.model.objective != "regression":
            self.wrong(("model", "interval"), "an interval belongs to a regression")
        if self.m.model.objective == "binary" and self.m.outcomes.type != "boolean" and self.m.model.target is None:
            self.wrong(("model", "objective"), "a binary model needs a boolean label",
                       hint=f"add target: {self.m.outcomes.label} > 0")
        by = self.m.model.train.split.by
        self.one_of(("model", "train", "split", "by"), by, ["time", *self.m.events.entities], "entity")
        return dict.fromkeys(names, NUMBER)

    def target(self, scope: Scope) -> Expr | None:
        expect = BOOLEAN if self.m.model.objective == "binary" else NUMBER
        place: Place = ("model", "target") if self.m.model.target is not None else ("outcomes", "label")
        return self.expression(place, self.m.model.target or self.m.outcomes.label, scope, expect)

    def inputs(self, scope: Scope, columns: list[Column], derived: dict[str, Expr]) -> tuple[str, ...]:
        events = self.m.events
        special = {events.id, events.time, *events.entities.values()}
        features = [*(column.name for column in columns), *derived]
        plain = [name for name in event_scope(self.m) if name not in special and events.fields[name].type != "time"]
        if self.m.model.inputs is None:
            return (*features, *plain)
        return tuple(self.expand(("model", "inputs"), self.m.model.inputs, [*features, *plain], "feature"))

    def expand(self, place: Place, patterns: list[str], known: list[str], what: str) -> list[str]:
        out: dict[str, None] = {}
        for index, pattern in enumerate(patterns):
            hits = [name for name in known if fnmatchcase(name, pattern)]
            if not hits:
                self.wrong((*place, index), f"unknown {what} '{pattern}'", hint=nearest(pattern, known))
            out.update(dict.fromkeys(hits))
        return list(out)

    # -- policy -------------------------------------------------------------------------------------------------
    def rules(self, place: Place, rules: list[Rule], scope: Scope) -> tuple[ParsedRule, ...]:
        parsed = [self.rule((*place, index), rule, scope) for index, rule in enumerate(rules)]
        for index, rule in enumerate(rules):
            last = index == len(rules) - 1
            if (rule.if_ is None) != last:
                self.wrong((*place, index), "only the last rule has no condition, and it must have none",
                           hint="end with a rule such as {then: approve}")
        return tuple(parsed)

    def rule(self, place: Place, rule: Rule, scope: Scope) -> ParsedRule:
        self.one_of((*place, "then"), rule.then, self.m.policy.actions, "action")
        condition = None if rule.if_ is None else self.expression((*place, "if"), rule.if_, scope, BOOLEAN)
        quantity = None if rule.quantity is None else self.expression((*place, "quantity"), rule.quantity, scope, NUMBER)
        return ParsedRule(condition, rule.then, quantity)

    def fallback(self, scope: Scope) -> tuple[str | ParsedRule, ...]:
        steps: list[str | ParsedRule] = []
        for index, step in enumerate(self.m.policy.fallback):
            place: Place = ("policy", "fallback", index)
            if isinstance(step, Rule) and step.if_ is not None:
                self.wrong((*place, "if"), "a fallback action has no condition")
            steps.append(step if isinstance(step, str) else self.rule(place, step, scope))
        if not steps or steps[-1] == "previous":
            self.wrong(("policy", "fallback"), "the chain must end with something that cannot fail",
                       hint="end it with baseline or a rule such as {then: review}")
        for index, action in enumerate(self.m.policy.adverse):
            self.one_of(("policy", "adverse", index), action, self.m.policy.actions, "action")
        return tuple(steps)

    def explore(self, scope: Scope) -> ParsedRule | None:
        spec, place = self.m.rollout.explore, ("rollout", "explore")
        for index, action in enumerate(self.m.outcomes.hidden_by):
            self.one_of(("outcomes", "hidden_by", index), action, self.m.policy.actions, "action")
        if self.m.outcomes.hidden_by and self.m.outcomes.type != "boolean":
            self.wrong(("outcomes", "hidden_by"), "only of a boolean label the worst and the best are known", hint="leave it out")
        if spec is None:
            return None
        self.one_of((*place, "then"), spec.then, self.m.policy.actions, "action")
        if spec.then in {*self.m.policy.adverse, *self.m.outcomes.hidden_by}:
            self.wrong((*place, "then"), "cases are let through by an action that is not adverse and hides no truth")
        if not 0 < spec.share < 1:
            self.wrong((*place, "share"), "it lies between 0% and 100%", hint="such as 1%")
        condition = None if spec.if_ is None else self.expression((*place, "if"), spec.if_, scope, BOOLEAN)
        return ParsedRule(condition, spec.then, self.expression((*place, "cost"), spec.cost, scope, NUMBER))

    def prices(self) -> tuple[ParsedPrice, ...]:
        scope, out = value_scope(self.m), []
        for index, price in enumerate(self.m.objective.value):
            place: Place = ("objective", "value", index)
            when = self.expression((*place, "when"), price.when, scope, BOOLEAN)
            worth = self.expression((*place, "worth"), price.worth, scope, NUMBER)
            if when is not None and worth is not None:
                out.append(ParsedPrice(when, worth))
        return tuple(out)

    def reasons(self, known: list[str]) -> dict[str, tuple[str, ...]]:
        return {code: tuple(self.expand(("governance", "reasons", code, "features"), spec.features, known, "feature"))
                for code, spec in self.m.governance.reasons.items()}

    def privacy(self, spec: Privacy, columns: list[Column]) -> None:
        """What is private must not be what records are found or features computed by, unless a pseudonym can stand for it."""
        events, place = self.m.events, ("privacy", "fields")
        if self.one_of(("privacy", "subject"), spec.subject, events.entities, "entity"):
            name = events.entities[spec.subject]
            if name in events.fields and events.fields[name].type != "text":
                self.wrong(("privacy", "subject"), f"'{name}' is {events.fields[name].type}", expected="text",
                           hint="a pseudonym is a text")
            if spec.fields.get(name, "pseudonymise") != "pseudonymise":
                self.wrong((*place, name), "the field that names the person is always pseudonymised", hint="leave it out")
        used = {events.id, events.time, *events.entities.values(), *(c.aggregate.field for c in columns)}
        for name, how in spec.fields.items():
            if how == "clear" or not self.one_of((*place, name), name, events.fields, "field"):
                continue
            if how in ("pseudonymise", "drop") and events.fields[name].type != "text":
                self.wrong((*place, name), f"'{name}' is {events.fields[name].type}; only a text can be {_DONE[how]}",
                           hint="encrypt it")
            elif name in (events.id, events.time):
                self.wrong((*place, name), "records are found by this field: it stays clear")
            elif how != "pseudonymise" and name in used:
                self.wrong((*place, name), "features are computed over this field from the ledger",
                           hint="pseudonymise it, if a text")
        if spec.without_consent == "default" and not any(isinstance(step, Rule) for step in self.m.policy.fallback):
            self.wrong(("privacy", "without_consent"), "the policy has no safe default", hint="end policy.fallback with a rule")

    def rollout(self) -> None:
        if self.m.rollout.by is not None:
            self.one_of(("rollout", "by"), self.m.rollout.by, self.m.events.entities, "entity")
        stages = self.m.rollout.stages
        if not all(a < b for a, b in pairwise([*stages, 1.0])) or stages == [0.0]:
            self.wrong(("rollout", "stages"), "stages grow and end above 0% and below 100%", hint="such as [0%, 5%, 20%, 50%]")
        for name in ("risk", "tolerance", "shift"):
            share = getattr(self.m.rollout, name)
            if share is not None and not 0 < share < 1:
                self.wrong(("rollout", name), "it lies between 0% and 100%", hint="such as 5%")
        outcomes = self.m.outcomes
        if outcomes.horizon is not None and outcomes.horizon < outcomes.delay:
            self.wrong(("outcomes", "horizon"), f"shorter than the delay of {say(outcomes.delay)}")


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(f"^(?:{pattern})$")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


def instant(text: str) -> int:
    """Microseconds of an RFC 3339 instant. Raises `ValueError`."""
    from datetime import datetime

    return micros(datetime.fromisoformat(text))
