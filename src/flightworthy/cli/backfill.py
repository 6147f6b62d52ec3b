"""The command that computes the features of a whole history."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flightworthy.ground.errors import DataError

if TYPE_CHECKING:
    from flightworthy.decision.backfill import Backfilled

Pilot = Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")]
Data = Annotated[list[str], typer.Option("--data", help="File with events: .ndjson, .csv, .parquet; several in their order.")]
To = Annotated[str, typer.Option("--to", help="Parquet file to write; with --engine a folder of them.")]
Outcomes = Annotated[str | None, typer.Option("--outcomes", help="File with outcomes, when they are not in the data.")]
Memory = Annotated[str, typer.Option("--memory", help="For sorting, such as 512MB; what does not fit goes to disk.")]
Engine = Annotated[str, typer.Option("--engine", help="spark, spark://host:7077, spark:yarn: compute them in Apache Spark.")]
_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


def backfill(pilot: Pilot, data: Data, to: To, outcomes: Outcomes = None, memory: Memory = "512MB", engine: Engine = "") -> None:
    """Compute the features of every event of a history, as they were when it came; files may be larger than memory."""
    from flightworthy.cli.pilots import say

    made, beside = _in_spark(pilot, data, outcomes, to, engine) if engine else _here(pilot, data, outcomes, to, memory)
    say(f"features of {made.events} events, with {made.outcomes} outcomes: {to}")
    if made.refused:
        say(f"  left out: {made.refused}; records that do not fit: {beside}")


def _here(pilot: Path, data: list[str], outcomes: str | None, to: str, memory: str) -> tuple[Backfilled, str]:
    from flightworthy.cli.progress import bar
    from flightworthy.manifest.load import load
    from flightworthy.operation import backfill as does

    with bar("features") as advance:
        done = 0

        def watch(more: int) -> None:
            nonlocal done
            done += more
            advance(done)

        made = does.backfill(load(pilot), data, None if outcomes is None else Path(outcomes), Path(to), size(memory), watch)
    return made, str(does.refused_beside(Path(to)))


def _in_spark(pilot: Path, data: list[str], outcomes: str | None, to: str, engine: str) -> tuple[Backfilled, str]:
    from flightworthy.operation.spark import job

    return job.backfill(pilot, data, outcomes, to, engine), job.refused_beside(to)


def size(text: str) -> int:
    """Bytes of an option's text."""
    if (found := re.fullmatch(r"([1-9][0-9]{0,6}) ?(KB|MB|GB)", text)) is None:
        raise DataError("not a size", where="--memory", found=text, expected="a number with KB, MB or GB, such as 512MB")
    return int(found[1]) * _UNITS[found[2]]
