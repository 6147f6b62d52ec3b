"""What a pilot will do, in plain words, from the manifest alone."""

from __future__ import annotations

from flightworthy.ground.clock import say
from flightworthy.manifest.columns import window
from flightworthy.manifest.pilot import Pilot
from flightworthy.manifest.schema import FieldSpec, Group, Rule


def explain(pilot: Pilot) -> str:
    """Markdown-like text, one section for each step of the spine."""
    parts = [_objective(pilot), _events(pilot), _features(pilot), _model(pilot), _policy(pilot), _privacy(pilot), _rollout(pilot)]
    return "\n\n".join([f"# {pilot.name}", *([pilot.manifest.description] if pilot.manifest.description else []),
                        *filter(None, parts)]) + "\n"


def _objective(pilot: Pilot) -> str:
    goal = pilot.manifest.objective
    lines = [f"## Why\nThe aim is {goal.kpi}. The pilot succeeds when decisions are worth at least "
             f"{goal.target.improvement} {goal.currency} more per 1,000 than those of the control group, within "
             f"{say(goal.target.within)}. Running one decision may cost {goal.budget.per_decision} {goal.currency}.",
             "A decision is worth, by the first line that holds:"]
    lines += [f"  - when {p.when}: {p.worth} {goal.currency}" for p in goal.value]
    lines.append(f"  - otherwise: 0 {goal.currency}")
    signed = [f"{role} ({who})" for role, who in goal.stakeholders.items()]
    return "\n".join(lines + ([f"Signed off by {', '.join(signed)}."] if signed else []))


def _events(pilot: Pilot) -> str:
    events = pilot.manifest.events
    entities = ", ".join(f"{name} (`{field}`)" for name, field in events.entities.items())
    lines = [f"## What asks\nAn event has an id (`{events.id}`), a time (`{events.time}`) and is about: {entities}. "
             "The same id always gets the same decision. An event that does not fit, or lies more than "
             f"{say(events.lateness)} behind the newest one, goes to quarantine with its reason; nothing is lost."]
    lines += [f"  - `{name}`: {_field(spec)}" for name, spec in events.fields.items()]
    return "\n".join(lines)


def _field(spec: FieldSpec) -> str:
    words: list[str] = [spec.type]
    if spec.values:
        words.append("one of " + ", ".join(spec.values))
    if spec.type == "decimal":
        words.append(f"{2 if spec.scale is None else spec.scale} digits after the point")
    words += [f"{word} {bound}" for word, bound in (("at least", spec.min), ("at most", spec.max)) if bound is not None]
    return ", ".join(words + (["may be null"] if spec.nullable else []))


def _features(pilot: Pilot) -> str:
    lines = ["## What is known at that moment",
             "Computed over event time, the deciding event included, the same in training, streams and single calls:"]
    lines += [f"  - {_group(name, group)}" for name, group in pilot.manifest.features.groups.items()]
    lines += [f"  - `{name}` = {source}" for name, source in pilot.manifest.features.derived.items()]
    return "\n".join(lines)


def _group(name: str, group: Group) -> str:
    by = [name] if group.by is None else group.by
    spans = [f"the last {w.length} events" if w.events else say(w.length) for w in map(window, group.windows)]
    delay = f", ending {say(group.delay)} before the event" if group.delay else ""
    over = f" over {', '.join(spans)}{delay}" if spans else ""
    what = "; ".join(f"{key} = {source}" for key, source in group.aggregate.items())
    return f"`{name}`, per {' and '.join(by) or 'everything together'}{over}: {what}"


def _model(pilot: Pilot) -> str:
    spec, outcomes = pilot.manifest.model, pilot.manifest.outcomes
    absent = "unknown" if outcomes.absent is None else str(outcomes.absent).lower()
    split = spec.train.split
    held = f"the newest {split.share:.0%}" if split.by == "time" else f"{split.share:.0%} of every {split.by}"
    return (f"## What is predicted\n`{', '.join(pilot.outputs)}` by {spec.flavour} ({spec.objective}) from "
            f"{len(pilot.inputs)} inputs. The truth is `{outcomes.label}`, normally known {say(outcomes.delay)} after the "
            f"event; without one by then it counts as {absent}. Training uses only labels known at its time and is judged "
            f"on {held}.")


def _policy(pilot: Pilot) -> str:
    policy = pilot.manifest.policy
    lines = ["## What is done", "With the model:", *_rules(policy.rules), "Baseline, without the model:",
             *_rules(policy.baseline)]
    chain = [step if isinstance(step, str) else step.then for step in policy.fallback]
    lines.append(f"If the model gives no usable answer: {' → '.join(chain)}; the path is recorded.")
    if policy.adverse:
        lines.append(f"For {', '.join(policy.adverse)} up to {pilot.manifest.governance.max_reasons} reasons are "
                     "recorded in words.")
    return "\n".join(lines)


def _rules(rules: list[Rule]) -> list[str]:
    return [f"  {i}. {'if ' + r.if_ if r.if_ else 'otherwise'}: {r.then}"
            + (f" with {r.quantity}" if r.quantity else "") for i, r in enumerate(rules, 1)]


_STORED = {"pseudonymise": "as a pseudonym", "encrypt": "sealed under the person's own key", "drop": "not at all"}
_OTHERWISE = {"baseline": "the baseline decides", "default": "the safe default decides", "refuse": "the event goes to quarantine"}


def _privacy(pilot: Pilot) -> str:
    spec = pilot.manifest.privacy
    if spec is None:
        return ""
    lines = [f"## Whom it is about\nThe {spec.subject} is a person. Features, model outputs and reasons are sealed under a "
             "key of the person's own; erasing a person destroys the key. Stored are:"]
    lines += [f"  - `{name}` {_STORED[how]}" for name in pilot.manifest.events.fields if (how := pilot.stored(name)) in _STORED]
    lines.append("  - everything else in clear")
    if spec.without_consent is not None:
        lines.append(f"Without consent for '{spec.purpose}' no model sees the event: {_OTHERWISE[spec.without_consent]}.")
    lines.append("Records are kept for ever." if spec.retention is None else f"Records are kept for {say(spec.retention)}.")
    return "\n".join(lines)


def _rollout(pilot: Pilot) -> str:
    rollout = pilot.manifest.rollout
    by = rollout.by or next(iter(pilot.manifest.events.entities))
    return (f"## Who gets it\nBy {by}, {rollout.holdout:.0%} are drawn into the control group and decided by the baseline; "
            "the others by the model. Every decision is durable in the ledger before it is answered.")
