"""The demonstration on the terminal."""

from __future__ import annotations

from pathlib import Path

from flightworthy.cli.pilots import folder_of, say
from flightworthy.cli.progress import bar
from flightworthy.cli.value import statement
from flightworthy.delivery import demo as story
from flightworthy.delivery.elsewhere import Elsewhere
from flightworthy.manifest.load import load


def demo(name: str, data: str | None, out: Path | None, seed: int, elsewhere: Elsewhere) -> None:
    """Run it and say where to look."""
    pilot = load(folder_of(name))
    folder = out or Path("out/demo") / Path(name).name
    with bar("making data" if data is None else "reading data"):
        material = story.simulated(pilot, folder / "data", seed) if data is None else story.given(pilot, data)
    evidence = story.run(pilot, material, folder, bar, elsewhere)
    report, found = evidence.stream, evidence.detection
    rate = report.decisions / report.seconds
    say(f"{report.decisions:,} decisions at {rate:,.0f} a second, all durable before answered; {report.quarantined} records "
        f"in quarantine, {report.duplicates} repeated, {report.outcomes} outcomes")
    if found is not None:
        ratio = "" if found.false_positive_ratio is None else \
            f"; at the baseline's detection {found.false_positive_ratio:.0%} of its false alarms"
        say(f"caught {found.detection_rate:.0%} of {found.positives} (baseline {found.baseline_detection_rate:.0%}){ratio}")
    say(f"replayed {evidence.replay.decisions:,}: {evidence.replay.mismatches} differ")
    for line in statement(evidence.valuation, evidence.now):
        say(line)
    for told in evidence.rollouts:
        steps = ", ".join(f"{turn.step} after {turn.decisions:,}" for turn in told.turns)
        say(f"challenger '{told.name}': {told.state} ({steps} decisions); it took {told.tried[0]:,} and earned "
            f"{told.tried[1]:,.2f} more than the champion, {told.everybody[1]:,.2f} had it decided all {told.everybody[0]:,}")
    say(f"open {folder / 'report.html'} in a browser; figures in {folder / 'summary.json'}")
