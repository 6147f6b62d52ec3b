"""One offline HTML page: everything inside it, nothing fetched."""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files
from typing import Any

import numpy as np

from flightworthy.decision.valuation import Judged
from flightworthy.delivery.evidence import Evidence, summary
from flightworthy.delivery.report import pictures
from flightworthy.delivery.rollouts import Rollout
from flightworthy.ground.clock import iso, say
from flightworthy.ground.errors import FlightworthyError
from flightworthy.ground.money import say as money
from flightworthy.objective.sequences import Interval


def render(evidence: Evidence, origin: str) -> str:
    """HTML of a run; ``origin`` says where the data came from (a simulator says so here)."""
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise FlightworthyError("reports need an extra", next_step="run: pip install 'flightworthy[report]'") from error
    source = (files("flightworthy.delivery.report") / "page.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(source).render(**_facts(evidence, origin))


def _rollout(told: Rollout, unit: str) -> dict[str, Any]:
    tried, everybody = (f"{money(Decimal(f'{worth:.2f}'), unit)}" for _, worth in (told.tried, told.everybody))
    return {"name": told.name, "says": told.says, "state": told.state, "drawn": pictures.rollout(told, unit),
            "badge": {"promoted": "met", "aborted": "not"}.get(told.state, ""), "tried": told.tried[0], "all": told.everybody[0],
            "earned": tried, "everybody": everybody, "auc": f"{told.ranking[0]:.3f}", "theirs": f"{told.ranking[1]:.3f}",
            "turns": [{"at": iso(turn.at)[:16], "step": turn.step, "decisions": turn.decisions, "why": turn.why.splitlines()}
                      for turn in told.turns], "replayed": told.replayed[0], "mismatches": told.replayed[1]}


def _facts(evidence: Evidence, origin: str) -> dict[str, Any]:
    worth, goal = evidence.valuation, evidence.pilot.manifest.objective
    unit = worth.currency
    verdict, because = _verdict(worth.per_thousand, float(goal.target.improvement), unit)
    latency = _latency(evidence)
    drawn = {"value": pictures.cumulative_value(evidence) if evidence.daily else "",
             "earned": pictures.earned(evidence),
             "detection": pictures.detection(evidence.detection) if evidence.detection else "",
             "quarantine": _bars(evidence.quarantine, "records", pictures.WARN),
             "stages": _bars(latency["stages"], "microseconds per decision, by stage"),
             "gain": _bars(_share(evidence.gain), "% of the gain in training"),
             "scatter": pictures.scatter(evidence.points) if evidence.points else ""}
    return {"pilot": evidence.pilot.manifest, "origin": origin, "at": iso(evidence.now), "verdict": verdict,
            "because": because, "summary": summary(evidence), "worth": worth, "drawn": drawn, "latency": latency,
            "earned": _words(worth.total(worth.effect), unit), "paired": _words(worth.total(worth.paired), unit),
            "rollouts": [_rollout(each, unit) for each in evidence.rollouts],
            "per_thousand": _words(worth.per_thousand, unit), "realised": money(worth.realised, unit),
            "unknown": [money(x, unit) for x in worth.unknown], "cost": money(worth.running_cost, unit),
            "found": evidence.detection, "samples": [_sample(s, unit, evidence.pilot.inputs) for s in evidence.samples],
            "actions": evidence.actions, "replay": evidence.replay, "stream": evidence.stream,
            "metrics": evidence.metrics, "model": evidence.model, "memory": evidence.memory,
            "target_within": say(goal.target.within)}


def _verdict(per_thousand: Interval, target: float, unit: str) -> tuple[str, str]:
    """Whether the objective is met: only an interval that lies wholly on one side decides."""
    reach = f"target {target:,.0f} {unit} per 1,000 decisions; interval {per_thousand.low:,.0f} to {per_thousand.high:,.0f}"
    if not np.isfinite([per_thousand.low, per_thousand.high]).all():
        return "inconclusive", "one of the groups has too few decisions with an outcome yet"
    if per_thousand.low >= target:
        return "met", reach
    if per_thousand.high < target:
        return "not met", reach
    return "inconclusive", f"{reach}: more outcomes, or a larger control group, are needed"


def _words(interval: Interval, unit: str) -> dict[str, str]:
    low, high = (f"{end:,.0f}" if np.isfinite(end) else "unknown" for end in (interval.low, interval.high))
    return {"value": f"{interval.value:,.0f} {unit}", "low": low, "high": high}


def _bars(values: dict[str, float] | dict[str, int], unit: str, color: str = pictures.OURS) -> str:
    top = sorted(values.items(), key=lambda item: -item[1])[:14]
    return pictures.bars([name for name, _ in top], [float(value) for _, value in top], unit, color) if top else ""


def _share(gain: dict[str, float]) -> dict[str, float]:
    total = sum(gain.values()) or 1.0
    return {name: 100 * value / total for name, value in gain.items()}


def _latency(evidence: Evidence) -> dict[str, Any]:
    """Time from reading a batch to its durable answer (every decision of a batch shares it), and work per decision."""
    clocks = np.array(evidence.stream.clocks or [(1, 0, 0, 0, 0)], np.float64)
    total = np.repeat(clocks[:, 1:].sum(axis=1), clocks[:, 0].astype(np.int64)) / 1000
    n = clocks[:, 0].sum()
    stages = {name: evidence.stream.stages.get(name, 0.0) * 1e6 / n
              for name in ("read", "prepare", "model", "finish", "commit")}
    return {"p50": f"{np.quantile(total, 0.5):,.1f}", "p99": f"{np.quantile(total, 0.99):,.1f}", "stages": stages}


def _sample(item: Judged, unit: str, inputs: tuple[str, ...]) -> dict[str, Any]:
    record = item.record
    return {"id": record.id, "time": iso(item.time), "action": record.action, "quantity": record.quantity,
            "otherwise": record.otherwise, "outputs": [f"{o:.3f}" for o in record.outputs if o is not None],
            "path": " → ".join(record.path), "reasons": record.reasons, "label": f"{item.label:g}",
            "value": money(item.value, unit)}
