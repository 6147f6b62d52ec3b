"""The command that computes the features of a whole history."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from flightworthy.ground.errors import DataError

Pilot = Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")]
Data = Annotated[list[str], typer.Option("--data", help="File with events: .ndjson, .csv, .parquet; several in their order.")]
To = Annotated[Path, typer.Option("--to", help="Parquet file to write.")]
Outcomes = Annotated[Path | None, typer.Option("--outcomes", help="File with outcomes, when they are not in the data.")]
Memory = Annotated[str, typer.Option("--memory", help="For sorting, such as 512MB; what does not fit goes to disk.")]
_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


def backfill(pilot: Pilot, data: Data, to: To, outcomes: Outcomes = None, memory: Memory = "512MB") -> None:
    """Compute the features of every event of a history, as they were when it came; files may be larger than memory."""
    from flightworthy.cli.pilots import say
    from flightworthy.cli.progress import bar
    from flightworthy.manifest.load import load
    from flightworthy.operation import backfill as does

    with bar("features") as advance:
        done = 0

        def watch(more: int) -> None:
            nonlocal done
            done += more
            advance(done)

        made = does.backfill(load(pilot), data, outcomes, to, size(memory), watch)
    say(f"features of {made.events} events, with {made.outcomes} outcomes: {to}")
    if made.refused:
        say(f"  left out: {made.refused}; records that do not fit: {does.refused_beside(to)}")


def size(text: str) -> int:
    """Bytes of an option's text."""
    if (found := re.fullmatch(r"([1-9][0-9]{0,6}) ?(KB|MB|GB)", text)) is None:
        raise DataError("not a size", where="--memory", found=text, expected="a number with KB, MB or GB, such as 512MB")
    return int(found[1]) * _UNITS[found[2]]
