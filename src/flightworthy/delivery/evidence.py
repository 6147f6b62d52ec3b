"""What a run showed, gathered from its ledger: the facts every report is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flightworthy.decision.replay import ReplayReport
from flightworthy.decision.route import HOLDOUT
from flightworthy.decision.statement import Sum, Valuation
from flightworthy.decision.valuation import PENDING, Judged, judge
from flightworthy.delivery.rollouts import Rollout
from flightworthy.governance.ledger import Ledger
from flightworthy.governance.privacy.vault import Vault
from flightworthy.manifest.pilot import Pilot
from flightworthy.objective.sequences import Interval
from flightworthy.operation.stream import StreamReport

Floats = NDArray[np.float64]
DAY = 86_400_000_000


@dataclass
class Detection:
    """Catching and false alarms among treated decisions with an outcome (binary labels)."""

    positives: int
    detection_rate: float
    baseline_detection_rate: float
    false_positives: int
    baseline_false_positives: int
    false_positive_ratio: float | None
    curve: list[tuple[float, float]] = field(default_factory=list)  # (false positive rate, detection rate)
    ours: tuple[float, float] = (0.0, 0.0)
    baseline: tuple[float, float] = (0.0, 0.0)


@dataclass
class Evidence:
    """Everything a report shows."""

    pilot: Pilot
    now: int
    valuation: Valuation
    daily: list[tuple[int, float, float]]  # day (µs), value of treated decisions, value by the baseline
    detection: Detection | None
    samples: list[Judged]
    actions: dict[str, int]
    quarantine: dict[str, int]
    stream: StreamReport
    replay: ReplayReport
    metrics: dict[str, Any]
    gain: dict[str, float]
    model: str
    memory: list[dict[str, Any]]
    points: list[tuple[float, float]] = field(default_factory=list)  # (prediction, label) of a regression
    rollouts: list[Rollout] = field(default_factory=list)
    band: list[tuple[int, Interval, int]] = field(default_factory=list)  # day (µs), earned so far, treated decisions until then


class Collector:
    """Watches judged decisions go by."""

    def __init__(self, pilot: Pilot, samples: int = 8) -> None:
        self.adverse, self.most = set(pilot.manifest.policy.adverse), samples
        self.binary = pilot.manifest.model.objective == "binary"
        self.daily: dict[int, list[float]] = {}
        self.actions: dict[str, int] = {}
        self.rows: list[tuple[float, float, bool, bool]] = []
        self.samples: list[Judged] = []

    def watch(self, item: Judged) -> None:
        """Note one decision."""
        record = item.record
        self.actions[record.action] = self.actions.get(record.action, 0) + 1
        if item.label is None or record.arm == HOLDOUT:
            return
        day = self.daily.setdefault(item.time // DAY * DAY, [0.0, 0.0])
        day[0] += float(item.value)
        day[1] += float(item.otherwise)
        score = record.outputs[0]
        self.rows.append((float("nan") if score is None else score, float(item.label or 0.0),
                          record.action in self.adverse, record.otherwise in self.adverse))
        if record.action in self.adverse and len(self.samples) < 400:
            self.samples.append(item)

    def detection(self) -> Detection | None:
        """None for models that are not binary, or when there were no positives."""
        if not self.binary or not self.rows:
            return None
        score, label, ours, base = (np.array(column, np.float64) for column in zip(*self.rows, strict=True))
        positive, negative = label == 1, label == 0
        if not positive.any() or not negative.any():
            return None
        order = np.argsort(-np.nan_to_num(score, nan=-1.0), kind="stable")
        caught = np.cumsum(positive[order]) / positive.sum()
        alarms = np.cumsum(negative[order])
        base_rate, base_alarms = float(base[positive].mean()), int(base[negative].sum())
        at = int(np.searchsorted(caught, base_rate))
        ratio = float(alarms[min(at, len(alarms) - 1)] / base_alarms) if base_alarms and base_rate > 0 else None
        rates = alarms / negative.sum()
        keep = np.unique(np.r_[0, np.searchsorted(rates, np.linspace(0, min(1.0, 4 * max(rates[at], 0.005)), 200))])
        curve = [(float(rates[i]), float(caught[i])) for i in keep if i < len(rates)]
        return Detection(int(positive.sum()), float(ours[positive].mean()), base_rate, int(ours[negative].sum()),
                         base_alarms, ratio, curve, (float(ours[negative].mean()), float(ours[positive].mean())),
                         (float(base[negative].mean()), base_rate))


def gather(pilot: Pilot, ledger: Ledger, now: int, stream: StreamReport, replay: ReplayReport, metrics: dict[str, Any],
           gain: dict[str, float], model: str, memory: list[dict[str, Any]],
           advance: Callable[[int], None] = lambda n: None, vault: Vault | None = None) -> Evidence:
    """Judge the whole ledger at ``now`` (event time, microseconds) and collect."""
    collector, seen = Collector(pilot), [0]

    def watch(item: Judged) -> None:
        collector.watch(item)
        seen[0] += 1
        if seen[0] % 1000 == 0:
            advance(seen[0])

    total, band = Sum(pilot), list[tuple[int, Interval, int]]()
    for item in judge(pilot, ledger, now, vault):
        if item.label is not None and (not band or item.time >= band[-1][0] + DAY):
            so_far = total.so_far()
            band.append((item.time // DAY * DAY, so_far.total(so_far.effect), so_far.treated))
        watch(item)
        total.add(item)
    valuation = total.so_far()
    quarantine: dict[str, int] = {}
    for (_, reason), count in ledger.quarantine_counts().items():
        quarantine[reason] = quarantine.get(reason, 0) + count
    step = max(1, len(collector.samples) // collector.most)
    points = [] if collector.binary else [(s, y) for s, y, *_ in collector.rows[:: max(1, len(collector.rows) // 3000)]]
    daily = [(day, totals[0], totals[1]) for day, totals in sorted(collector.daily.items())]
    return Evidence(pilot, now, valuation, daily, collector.detection(),
                    collector.samples[::step][: collector.most], collector.actions, quarantine, stream, replay, metrics,
                    gain, model, memory, points, band=band)


def summary(evidence: Evidence) -> dict[str, Any]:
    """The figures of a run."""
    worth, found = evidence.valuation, evidence.detection
    earned, paired = worth.total(worth.effect), worth.total(worth.paired)
    return {
        "pilot": evidence.pilot.name, "decisions": evidence.stream.decisions,
        "quarantined": evidence.stream.quarantined, "duplicates": evidence.stream.duplicates,
        "outcomes": evidence.stream.outcomes, "currency": worth.currency,
        "value": round(earned.value, 2), "value_low": round(earned.low, 2), "value_high": round(earned.high, 2),
        "value_against_baseline": round(paired.value, 2), "value_against_baseline_low": round(paired.low, 2),
        "value_against_baseline_high": round(paired.high, 2), "realised": str(worth.realised),
        "pending": worth.statuses.get(PENDING, 0),
        "detection_rate": found.detection_rate if found else None,
        "baseline_detection_rate": found.baseline_detection_rate if found else None,
        "false_positives": found.false_positives if found else None,
        "baseline_false_positives": found.baseline_false_positives if found else None,
        "false_positive_ratio": found.false_positive_ratio if found else None,
        "decisions_per_second": round(evidence.stream.decisions / max(evidence.stream.seconds, 1e-9), 1),
        "replay_mismatches": evidence.replay.mismatches, "replayed": evidence.replay.decisions,
        "model": evidence.model,
        "rollouts": [{"name": told.name, "state": told.state, "steps": [turn.step for turn in told.turns],
                      "decisions": told.tried[0], "worth_more": round(told.tried[1], 2), "worth_more_everybody":
                      round(told.everybody[1], 2), "auc": told.ranking[0], "champion_auc": told.ranking[1],
                      "replay_mismatches": told.replayed[1]} for told in evidence.rollouts],
    }
