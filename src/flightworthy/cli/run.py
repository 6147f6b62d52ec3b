"""Commands that train, decide, value and replay."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from flightworthy.cli.pilots import Part, parts, rooms, say
from flightworthy.cli.progress import bar, counted
from flightworthy.decision.engine import Engine
from flightworthy.decision.replay import ReplayReport
from flightworthy.decision.replay import replay as replay_ledger
from flightworthy.decision.rooms import Rooms
from flightworthy.ground.clock import micros
from flightworthy.ground.errors import DataError
from flightworthy.integration.contract import Raw
from flightworthy.integration.sources import rows
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import ModelStore
from flightworthy.operation import learn, stream
from flightworthy.operation.feed import merged


def instant(text: str | None) -> int | None:
    """Microseconds of an option's text."""
    if text is None:
        return None
    try:
        return micros(datetime.fromisoformat(text))
    except ValueError as error:
        raise DataError("not an instant", found=text, expected="RFC 3339, such as 2026-05-09T00:00:00Z") from error


def outcome_lines(path: str | None) -> list[Raw]:
    """Outcome records of an NDJSON file."""
    if path is None:
        return []
    try:
        return [line for line in Path(path).read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read the outcomes: {error}", where=path) from error


def train(path: Path, data: str, outcomes: str | None, var: Path | None, at: str | None,
          champion: bool = True) -> None:
    """Train, store, print the metrics."""
    pilot = load(path)
    told = learn.outcomes_by_id(pilot, outcome_lines(outcomes)) if outcomes else None
    source = learn.open_source(data, pilot)
    with bar("reading history", source.length()) as advance:
        past = list(learn.labelled(pilot, counted(rows(source.chunks()), advance), told))
    with bar("features and training"):
        learned = learn.learn(pilot, past, rooms(pilot, var), instant(at), champion)
    trained = learned.trained
    say(f"{'model' if champion else 'challenger'} {trained.artifact.digest}")
    for name, e in trained.metrics.items():
        say(f"  {name:<18} {e.value:.4f}   95% interval {e.low:.4f} – {e.high:.4f}")
    if learned.history.refused:
        say(f"  left out by the contract: {learned.history.refused}")
    say(f"  card {learned.card_path}")


def decide(path: Path, data: str | None, outcomes: str | None, history: str | None, var: Path | None,
           resume: bool, follow: bool = False) -> None:
    """Stream a file through the engine, after a history. ``follow``: act on the gates of a rollout after each batch."""
    from flightworthy.cli.rollout import beside

    pilot = load(path)
    past, live = (None if url is None else learn.open_source(url, pilot) for url in (history, data))
    if live is None and past is None:
        raise DataError("nothing to read", expected="--data, --history or both")
    key = stream.identity([None if f is None else Path(f.removeprefix("file://")) for f in (history, data, outcomes)])
    engine = Engine.open(pilot, rooms(pilot, var))
    if past is None and engine.ledger.last() == 0:
        sys.stderr.write("the features start without a past, unlike in training; give it with --history\n")
    lengths = [0 if s is None else s.length() for s in (past, live)]
    with bar("deciding", None if None in lengths else sum(n or 0 for n in lengths)) as advance:
        lots = merged(pilot, () if live is None else live.chunks(), outcome_lines(outcomes),
                      until=None if live is None else 2**62, history=() if past is None else past.chunks())
        report = stream.run(engine, lots, Path(data or history or "").name, key=key if resume else None,
                            watch=lambda r: advance(r.records), between=beside(engine) if follow else None)
    engine.close()
    rate = report.decisions / report.seconds if report.seconds else 0.0
    if report.remembered:
        say(f"{report.remembered} events of the past remembered")
    say(f"{report.decisions} decisions, {report.outcomes} outcomes, {report.duplicates} repeated, "
        f"{report.quarantined} to quarantine; {rate:,.0f} decisions a second, all durable")


def plain(value: Any) -> Any:
    """Dataclasses and decimals as JSON can hold them; money as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it: nothing is known yet
    return str(value) if isinstance(value, Decimal) else value


def newest(pilot: Pilot, opened: Iterable[Part]) -> int:
    """The newest event time in some ledgers."""
    from flightworthy.decision.line import Line
    from flightworthy.decision.recovery import advance_from_ledger

    lines = [(Line(pilot, {}, vault), ledger) for ledger, vault, _ in opened]
    found = [time for count, time in (advance_from_ledger(line, line.state(), ledger, 1) for line, ledger in lines) if count]
    if not found:
        raise DataError("nothing was decided yet", next_step="run: flightworthy decide")
    return max(found)


def replay(path: Path, var: Path | None, as_json: bool) -> None:
    """Exit code 1 when anything differs."""
    pilot = load(path)
    models = Rooms.of(pilot, rooms(pilot, var)).models
    with parts(pilot, var) as opened, bar("replaying"):
        report = sum((replay_ledger(pilot, ledger, models, vault=vault, base=base) for ledger, vault, base in opened),
                     ReplayReport())
    if as_json:
        say(json.dumps(plain(report), indent=2))
    else:
        say(f"{report.decisions} decisions replayed, {report.outcomes} outcomes, {report.mismatches} differ"
            + (f", {report.other_manifest} of another manifest not compared" if report.other_manifest else "")
            + (f", {report.erased} about people who were erased not compared" if report.erased else ""))
        for difference in report.differences:
            say(f"  entry {difference['seq']} ({difference['id']}): {', '.join(difference['members'])}")
    sys.exit(1 if report.mismatches else 0)


def models(path: Path, var: Path | None) -> None:
    """Champions, newest first; then what is only stored, such as challengers."""
    pilot = load(path)
    store = ModelStore(Rooms.of(pilot, rooms(pilot, var)).models)
    history = store.history()
    for i, digest in enumerate(reversed(history)):
        say(f"{'champion' if i == 0 else '        '}  {store.load(digest).describe()}")
    for digest in store.stored():
        if digest not in history:
            say(f"stored    {store.load(digest).describe()}")
    if not history:
        say("no model has been trained yet")


def rollback(path: Path, var: Path | None) -> None:
    """The previous champion becomes champion; the history keeps both acts."""
    pilot = load(path)
    store = ModelStore(Rooms.of(pilot, rooms(pilot, var)).models)
    previous = store.previous()
    if previous is None:
        raise DataError("there is no previous champion", where=str(store.folder), next_step="train another model first")
    store.save(previous)
    say(f"champion is now {previous.describe()}")
