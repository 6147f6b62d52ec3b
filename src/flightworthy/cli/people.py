"""Commands about people."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flightworthy.cli.pilots import parts, places, rooms, say
from flightworthy.cli.service import call
from flightworthy.decision import people
from flightworthy.decision.engine import Engine
from flightworthy.decision.line import Line
from flightworthy.decision.rooms import Rooms
from flightworthy.ground.errors import DataError
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot

_AT_ONCE = 1000  # names in one request


def ask(target: str, act: str, names: list[str], names_from: Path | None, why: str, var: Path | None) -> None:
    """On every shard; what each did is printed."""
    if not why:
        raise DataError("an act needs a reason", next_step="give --why")
    names = names + (_lines(names_from) if names_from else [])
    if not names:
        raise DataError("nobody is named", next_step="give names, or --from FILE")
    if target.startswith(("http://", "https://")):
        for i in range(0, len(names), _AT_ONCE):
            _tell(call(target, "/v1/people", "POST", {"act": act, "names": names[i : i + _AT_ONCE], "why": why}))
        return
    with engines(load(Path(target)), var) as opened:
        _tell([people.ask(engine, act, names, getpass.getuser(), why) for engine in opened])


def _tell(done: list[dict[str, Any]]) -> None:
    for each in done:
        say(json.dumps(each))


@contextmanager
def engines(pilot: Pilot, var: Path | None) -> Iterator[list[Engine]]:
    """The engines of a pilot that rests, one for each shard; raises when another process writes."""
    from flightworthy.operation.service.process import locked

    opened, held = [], []
    try:
        for place in places(pilot, var):
            held.append(locked(place, 1.0))
            opened.append(Engine.open(pilot, place, models=Rooms.of(pilot, rooms(pilot, var)).models))
        yield opened
    finally:
        for engine in opened:
            engine.close()
        for file in held:
            file.close()


def show(path: Path, name: str, var: Path | None) -> None:
    """Of every shard."""
    pilot, unknown = load(path), 0
    with parts(pilot, var) as opened:
        for ledger, vault, _ in opened:
            try:
                for record in people.about(Line(pilot, {}, vault), ledger, name):
                    say(json.dumps(record, ensure_ascii=False))
            except DataError:
                unknown += 1
                if unknown == len(opened):
                    raise


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the names: {error}", where=str(file)) from error
