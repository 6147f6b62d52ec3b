"""A pilot: the manifest with everything parsed, typed and named, ready for the layers to compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flightworthy.ground.canonical import fingerprint
from flightworthy.manifest.columns import Column
from flightworthy.manifest.expressions import BOOLEAN, NUMBER, TIME, Expr, Scope, Type, category
from flightworthy.manifest.schema import FieldSpec, Manifest


@dataclass(frozen=True)
class ParsedRule:
    """A policy line: no condition means always."""

    condition: Expr | None
    action: str
    quantity: Expr | None


@dataclass(frozen=True)
class ParsedPrice:
    """A line of the value formula."""

    when: Expr
    worth: Expr


@dataclass(frozen=True)
class Pilot:
    """Everything a manifest says, checked. Immutable; make one with `load`."""

    manifest: Manifest
    folder: Path
    columns: tuple[Column, ...]
    derived: Mapping[str, Expr]
    target: Expr
    inputs: tuple[str, ...]
    rules: tuple[ParsedRule, ...]
    baseline: tuple[ParsedRule, ...]
    fallback: tuple[str | ParsedRule, ...]
    prices: tuple[ParsedPrice, ...]
    reasons: Mapping[str, tuple[str, ...]]
    explore: ParsedRule | None = None  # what is let through, and at what cost (its quantity)

    @property
    def name(self) -> str:
        return self.manifest.pilot

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, in the order of its columns."""
        return outputs_of(self.manifest)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Aggregates, then derived features: the order in every record."""
        return (*(column.name for column in self.columns), *self.derived)

    @property
    def assigned_by(self) -> str:
        """Field whose value is assigned to a group of the rollout as a whole."""
        events = self.manifest.events
        entity = self.manifest.rollout.by or next(iter(events.entities))
        return events.entities[entity]

    def stored(self, name: str) -> str:
        """How a field is stored: clear, pseudonymise, encrypt or drop."""
        privacy = self.manifest.privacy
        if privacy is None:
            return "clear"
        return "pseudonymise" if name == self.subject else privacy.fields.get(name, "clear")

    @property
    def subject(self) -> str:
        """The field that names the person; empty where nothing is private."""
        privacy = self.manifest.privacy
        return "" if privacy is None else self.manifest.events.entities[privacy.subject]

    @cached_property
    def digest(self) -> str:
        """Names everything that shapes a decision: contract, features, policy, routing, reasons, objective."""
        spec = self.manifest.model_dump(mode="json", by_alias=True, exclude={"adapters", "description", "service"})
        spec["rollout"] = {name: spec["rollout"][name] for name in ("by", "holdout", "salt")} | (  # the rest is said by acts
            {"explore": spec["rollout"]["explore"]} if spec["rollout"]["explore"] else {})
        if not spec["outcomes"]["hidden_by"]:  # as before there was such a key
            del spec["outcomes"]["hidden_by"]
        if spec["privacy"] is None:  # as before there was such a section
            del spec["privacy"]
        return fingerprint(spec)

    @cached_property
    def recipe_digest(self) -> str:
        """Names what a model depends on: contract, outcomes and features."""
        return fingerprint(self.recipe())

    def recipe(self) -> dict[str, Any]:
        """Contract, outcomes and features, as plain values."""
        spec = self.manifest.model_dump(mode="json", by_alias=True, include={"events", "outcomes", "features"})
        del spec["outcomes"]["hidden_by"]  # no model depends on it
        return spec


def outputs_of(manifest: Manifest) -> tuple[str, ...]:
    """A binary model gives `score`; a regression `prediction`, with an interval also `low` and `high`."""
    if manifest.model.objective == "binary":
        return ("score",)
    return ("prediction", "low", "high") if manifest.model.interval is not None else ("prediction",)


def field_type(spec: FieldSpec) -> Type | None:
    """The type a field has in expressions; None for free text, which they cannot read."""
    if spec.type == "category":
        return category(tuple(spec.values or ()))
    return {"integer": NUMBER, "number": NUMBER, "decimal": NUMBER, "boolean": BOOLEAN, "time": TIME}.get(spec.type)


def event_scope(manifest: Manifest) -> dict[str, Type]:
    """Fields that expressions can read."""
    typed = {name: field_type(spec) for name, spec in manifest.events.fields.items()}
    return {name: kind for name, kind in typed.items() if kind is not None}


def value_scope(manifest: Manifest) -> Scope:
    """What a value formula can read: fields, the outcome, the action and its quantity."""
    label = BOOLEAN if manifest.outcomes.type == "boolean" else NUMBER
    return {**event_scope(manifest), manifest.outcomes.label: label,
            "action": category(tuple(manifest.policy.actions)), "quantity": NUMBER}
