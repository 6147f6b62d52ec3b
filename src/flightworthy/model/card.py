"""The model card: what this model is, what it was made from, how good it is, what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping

from flightworthy.manifest.pilot import Pilot
from flightworthy.model.train import Trained


def card(pilot: Pilot, trained: Trained, refused: Mapping[str, int]) -> str:
    """Markdown. Follows the sections of Mitchell et al., "Model Cards for Model Reporting" (2019)."""
    content, spec = trained.artifact.content, pilot.manifest.model
    made = content["trained"]
    rows = [f"| {name.replace('_', ' ')} | {e.value:.4f} | {e.low:.4f} – {e.high:.4f} |"
            for name, e in trained.metrics.items()]
    gain = sorted(trained.gain.items(), key=lambda item: -item[1])[:15]
    total = sum(trained.gain.values()) or 1.0
    weights = [f"| {name} | {100 * value / total:.1f}% |" for name, value in gain]
    left_out = ", ".join(f"{n} {reason}" for reason, n in sorted(refused.items())) or "none"
    held = f"entities of '{spec.train.split.by}', whole" if spec.train.split.by != "time" else \
        "the newest part; learning stops one label delay before it"
    return "\n".join([
        f"# Model card: {pilot.name}", "",
        f"- **Version** `{trained.artifact.digest}` (SHA-256 over model, features and contract)",
        f"- **Kind** {content['flavour']}, {content['objective']}, {spec.rounds} rounds, seed {spec.seed}",
        f"- **Made for** {pilot.manifest.description or pilot.manifest.objective.kpi}",
        f"- **Learned from** {made['rows']} labelled events, {made['from']} to {made['until']}",
        f"- **Left out by the contract** {left_out}",
        f"- **Label** `{pilot.manifest.outcomes.label}`, known after the delay the manifest states; only labels known "
        "at the time of training were used", "",
        "## How good it is", "",
        f"On {trained.held_back} events held back ({held}). Intervals: 95% bootstrap over whole entities.", "",
        "| measure | value | interval |", "|---|---|---|", *rows, "",
        "The version above was then fitted once more on everything with the same recipe." if spec.train.refit else "", "",
        *(["## What it looks at", "", "Share of the gain in training, not a causal effect.", "",
           "| input | share |", "|---|---|", *weights, ""] if weights else []),
        "## Limits", "",
        "It knows the traffic it learned from. It must not be used for another purpose, population or label than the "
        "manifest's, nor when the contract changes: the engine refuses it then.", ""])
