"""Pictures of a report, as SVG text that stands inside the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flightworthy.delivery.evidence import Detection, Evidence
from flightworthy.delivery.rollouts import Rollout
from flightworthy.ground.clock import moment
from flightworthy.objective.sequences import Interval

INK, MUTED, OURS, THEIRS, WARN = "#1c2733", "#6b7a89", "#0b7285", "#c2410c", "#e8b04b"


def _figure(width: float = 7.2, height: float = 3.1) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "flightworthy", "font.family": "sans-serif",
                         "font.size": 10, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "xtick.color": MUTED,
                         "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.grid(axis="y", color="#e4e9ee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1)


def cumulative_value(evidence: Evidence) -> str:
    """Value of the treated decisions day by day, and what the baseline would have made of the same ones."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter

    figure, axes = _figure()
    days: list[datetime] = [moment(day) for day, _, _ in evidence.daily]
    ours = _running([a for _, a, _ in evidence.daily])
    theirs = _running([b for _, _, b in evidence.daily])
    x: Any = days
    axes.plot(x, ours, color=OURS, linewidth=2.2, label="decided with the model")
    axes.plot(x, theirs, color=THEIRS, linewidth=1.6, linestyle="--", label="baseline on the same decisions")
    axes.fill_between(x, ours, theirs, color=OURS, alpha=0.12)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel(f"cumulative value, {evidence.valuation.currency}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.legend(frameon=False, loc="best")
    locator = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return _svg(figure)


def earned(evidence: Evidence) -> str:
    """What was earned against the holdout so far, day by day with its band, beside the target and the cost of running. Empty
    while there is no interval."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter

    known = [(day, told, n) for day, told, n in evidence.band if math.isfinite(told.low) and math.isfinite(told.high)]
    if len(known) < 2:
        return ""
    goal = evidence.pilot.manifest.objective
    figure, axes = _figure(height=2.7)
    x: Any = [moment(day) for day, _, _ in known]
    axes.plot(x, [told.value for _, told, _ in known], color=OURS, linewidth=2.0, label="earned against the holdout, after cost")
    axes.fill_between(x, [told.low for _, told, _ in known], [told.high for _, told, _ in known], color=OURS, alpha=0.15,
                      label="95%, valid at every look")
    axes.plot(x, [float(goal.target.improvement) * n / 1000 for _, _, n in known], color=THEIRS, linewidth=1.4, linestyle="--",
              label="target")
    axes.plot(x, [-float(goal.budget.per_decision) * n for _, _, n in known], color=MUTED, linewidth=1.0, linestyle=":",
              label="cost of running")
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel(f"cumulative, {evidence.valuation.currency}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.legend(frameon=False, loc="upper left", ncols=2, fontsize=8)
    locator = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return _svg(figure)


def rollout(told: Rollout, currency: str) -> str:
    """What the value gate said of a challenger, look by look, and where its share changed. Empty where it said no two numbers."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    guessed = [(at, interval) for at, interval in told.seen if math.isfinite(interval.value)]
    known = [(at, _bar(interval)) for at, interval in guessed]
    if len(guessed) < 2:
        return ""
    figure, axes = _figure(height=2.3)
    looked: Any = [moment(at) for at, _ in guessed]
    axes.plot(looked, [1000 * interval.value for _, interval in guessed], color=OURS, linewidth=2.0, marker="o", markersize=3)
    x: Any = [moment(at) for at, _ in known]
    axes.vlines(x, [1000 * bar[0] for _, bar in known], [1000 * bar[1] for _, bar in known], color=OURS, alpha=0.35, linewidth=5)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    for turn in told.turns:
        when: Any = moment(turn.at)
        axes.axvline(when, color=THEIRS, linewidth=1.0, linestyle="--")
        axes.annotate(turn.step, (when, 1.0), xycoords=("data", "axes fraction"), rotation=90, fontsize=8, color=THEIRS,
                      ha="right", va="top", xytext=(-2, -2), textcoords="offset points")
    if told.seen:
        start, end = moment(told.seen[0][0]), moment(told.seen[-1][0])
        axes.set_xlim(start, end + (end - start) * 0.03)
    axes.set_ylabel(f"{currency} per 1,000, more\nthan the champion")
    locator = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return _svg(figure)


def detection(found: Detection) -> str:
    """Detection against false alarms, with both policies as points."""
    figure, axes = _figure()
    axes.plot([100 * x for x, _ in found.curve], [100 * y for _, y in found.curve], color=OURS, linewidth=2.2,
              label="model, any threshold")
    axes.scatter([100 * found.ours[0]], [100 * found.ours[1]], color=OURS, zorder=3, s=50, label="policy with the model")
    axes.scatter([100 * found.baseline[0]], [100 * found.baseline[1]], color=THEIRS, zorder=3, s=50, marker="D",
                 label="baseline policy")
    axes.set_xlabel("false alarms, % of the genuine")
    axes.set_ylabel("caught, % of the positive")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="lower right")
    return _svg(figure)


def bars(names: Sequence[str], values: Sequence[float], unit: str, color: str = OURS) -> str:
    """Horizontal bars, largest on top, each with its number."""
    figure, axes = _figure(height=0.6 + 0.3 * max(1, len(names)))
    axes.grid(visible=False)
    spots = list(range(len(names)))[::-1]
    axes.barh(spots, values, color=color, height=0.62)
    axes.set_yticks(spots, names)
    most = max(values, default=1.0) or 1.0
    for spot, value in zip(spots, values, strict=True):
        axes.text(value + most * 0.01, spot, f"{value:,.1f}" if value < 100 else f"{value:,.0f}", va="center",
                  color=INK, fontsize=9)
    axes.set_xlim(0, most * 1.12)
    axes.set_xlabel(unit)
    return _svg(figure)


def scatter(points: Sequence[tuple[float, float]]) -> str:
    """Truth against prediction."""
    figure, axes = _figure(height=3.6)
    axes.scatter([y for _, y in points], [x for x, _ in points], s=5, color=OURS, alpha=0.35, linewidths=0)
    top = max((max(p) for p in points), default=1.0)
    axes.plot([0, top], [0, top], color=MUTED, linewidth=0.8)
    axes.set_xlabel("truth")
    axes.set_ylabel("prediction")
    return _svg(figure)


def _bar(told: Interval) -> tuple[float, float]:
    """As far as anything is known on either side."""
    return (told.low if math.isfinite(told.low) else told.value, told.high if math.isfinite(told.high) else told.value)


def _running(values: Sequence[float]) -> list[float]:
    out, total = [], 0.0
    for value in values:
        total += value
        out.append(total)
    return out
