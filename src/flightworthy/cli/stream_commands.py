"""The command of a stream's worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Pilot = Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")]
Var = Annotated[Path | None, typer.Option("--var", help="Folder for variable data (default: var/ in the pilot).")]
Events = Annotated[str, typer.Option("--events", help="Instead of adapters.events, such as kafka://broker:9092/payments.")]
Outcomes = Annotated[str, typer.Option("--outcomes", help="Instead of adapters.outcomes.")]
Decisions = Annotated[str, typer.Option("--decisions", help="Instead of adapters.decisions.")]
Dead = Annotated[str, typer.Option("--dead-letters", help="Instead of adapters.dead_letters.")]
History = Annotated[str, typer.Option("--history", help="RFC 3339 instant, or now: what the broker had before is remembered, "
                                      "not decided, where a ledger begins.")]
UntilIdle = Annotated[float | None, typer.Option("--until-idle", min=0.1, help="End when nothing came for so many seconds.")]
Name = Annotated[str, typer.Option("--name", help="Of this worker, in the ledger (default: host and process).")]
Metrics = Annotated[str, typer.Option("--metrics", help="Where Prometheus may ask, such as 127.0.0.1:9100.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Go on where records went before they were read.")]

Engine = Annotated[str, typer.Option("--engine", help="flink, or flink://host:8081?checkpoints=URL: decide in Apache Flink.")]
Entries = Annotated[str, typer.Option("--entries", help="With --engine: a topic for all that a ledger would hold.")]


def stream(pilot: Pilot, var: Var = None, events: Events = "", outcomes: Outcomes = "", decisions: Decisions = "",
           dead_letters: Dead = "", history: History = "", until_idle: UntilIdle = None, name: Name = "",
           metrics: Metrics = "", skip_missing: SkipMissing = False, engine: Engine = "", entries: Entries = "") -> None:
    """Decide a stream without end, as one of the workers of a group: partitions come and go, nothing is lost."""
    from flightworthy.cli import stream as does

    urls = {"events": events, "outcomes": outcomes, "decisions": decisions, "dead_letters": dead_letters}
    options = does.Options(history, until_idle, name, metrics, skip_missing)
    if engine:
        does.submit(pilot, var, urls | {"entries": entries}, engine, options)
    else:
        does.check_no_entries(entries)
        does.run(pilot, var, urls, options)


def envoy(pilot: Pilot, replica: Annotated[list[str], typer.Option("--replica", help="host:port of a service; once for each.")],
          listen: Annotated[int, typer.Option("--listen", help="Port on this machine.")] = 8000) -> None:
    """Print the configuration of an Envoy that sends what an entity asks always to the same replica."""
    from flightworthy.cli.pilots import say
    from flightworthy.manifest.load import load
    from flightworthy.operation import gateway

    say(gateway.envoy(load(pilot), replica, listen))
