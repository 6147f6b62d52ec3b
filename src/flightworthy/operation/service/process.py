"""The process of a shard, from its start to its end."""

from __future__ import annotations

import argparse
import fcntl
import logging
import math
import socket
import sys
import time
from pathlib import Path
from typing import Any

from flightworthy.decision.engine import Engine
from flightworthy.decision.fallback import CHAMPION
from flightworthy.decision.line import Line
from flightworthy.decision.rooms import load_models, turn_of
from flightworthy.decision.work import Arrivals
from flightworthy.ground.errors import FlightworthyError
from flightworthy.manifest.load import load
from flightworthy.operation.publishing import publishing
from flightworthy.operation.service import wire
from flightworthy.operation.service.answers import encode
from flightworthy.operation.service.logs import to_stderr
from flightworthy.operation.service.rest import seldom_collect
from flightworthy.operation.service.shard import Shard, guard
from flightworthy.operation.service.starts import GO

_log = logging.getLogger("flightworthy.service")
_PATIENCE = 30.0  # seconds to wait for a process that is about to end


def locked(base: Path, patience: float = _PATIENCE) -> Any:
    """The right to write these rooms, held until the process ends; waits (seconds) for a process that is about to end."""
    base.mkdir(parents=True, exist_ok=True)
    file = (base / "engine.lock").open("wb")
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise FlightworthyError("another process writes this ledger", where=str(base),
                                        next_step="end the other service or stream first") from None
            time.sleep(0.01)
        else:
            return file


def warm(pilot: Path, models: Path) -> None:
    """Load all code that a shard of this pilot needs, and forget the rest: when it begins, pilot and models are read anew."""
    read = load(pilot)
    line = Line(read, load_models(read, models))
    line.warm()
    line.chain.ask(CHAMPION, line.chain.models[CHAMPION].references[None, :])


def main() -> None:
    """Started by the front, with one end of a socket pair; begins when it is told to."""
    given = argparse.ArgumentParser()
    for name in ("pilot", "base", "models", "link", "how"):
        given.add_argument(name)
    args = given.parse_args()
    to_stderr()
    link = socket.socket(fileno=int(args.link))
    if args.how == "reserve":
        try:
            warm(Path(args.pilot), Path(args.models))
        except FlightworthyError as error:
            _log.warning("the process in reserve could not load the pilot now: %s", error.what)
    if link.recv(1) != GO:
        return  # the front has gone
    try:
        held = locked(Path(args.base))
        engine = Engine.open(load(Path(args.pilot)), Path(args.base), models=Path(args.models))
        turn = engine.ledger.turn(math.inf)
        turn.__enter__()  # where another machine writes this ledger, this one stands by until it is gone
        engine.process(Arrivals([], engine.clock.now()))
        engine.line.warm()
        guard(engine)
    except FlightworthyError as error:
        link.sendall(wire.frame(wire.Answers([wire.Told(0, wire.REFUSED, str(error).encode())])))
        sys.exit(2)
    seldom_collect()
    sys.setswitchinterval(0.001)
    shard = Shard(engine, link, Path(args.pilot))
    shard.send(wire.Answers([wire.Told(0, 200, encode(shard.about()))]))
    with publishing(engine, turn_of(Path(args.base))):
        shard.run()
    turn.__exit__(None, None, None)
    engine.close()
    held.close()


if __name__ == "__main__":
    main()
