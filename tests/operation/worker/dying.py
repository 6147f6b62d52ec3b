"""A worker that ends itself with SIGKILL in a gap between two commits: dying.py GAP N stream …"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

from flightworthy.adapters.kafka.sink import KafkaSink
from flightworthy.adapters.kafka.stream import KafkaStream
from flightworthy.cli.main import main
from flightworthy.decision.engine import Engine
from flightworthy.integration.features import snapshot
from flightworthy.operation.worker import lane
from flightworthy.operation.worker.outlet import Outlet

# Gap → what is called there, and whether the end comes before it or after.
GAPS: dict[str, tuple[Any, str, bool]] = {
    "before the ledger": (Engine, "commit", False),
    "after the ledger": (Engine, "commit", True),
    "after sending": (KafkaSink, "send", True),
    "after settling": (KafkaSink, "settle", True),
    "before the offset": (KafkaStream, "note", False),
    "after the offset": (KafkaStream, "note", True),
    "before a snapshot": (snapshot, "write", False),
    "after a snapshot": (snapshot, "write", True),
    "before a takeover": (Engine, "acts", False),
    "after a takeover": (Engine, "acts", True),
    "before sending again": (Outlet, "again", False),
    "while reading": (lane.Lane, "_prepared", False),
}


def die(owner: Any, name: str, after: bool, times: int) -> None:
    """Have the process end at the so-manieth call."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = count(1)

    def call(*args: Any, **options: Any) -> Any:
        last = next(calls) == times  # whichever thread it is
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        out = real(*args, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return out

    setattr(owner, name, call)


def arrange(gap: str, times: int) -> None:
    """Prepare the end."""
    lane.SNAPSHOT_EVERY = 300
    if not gap.startswith("poison "):
        die(*GAPS[gap], times)
        return
    poison, real = gap.removeprefix("poison ").encode(), Engine.prepare

    def prepare(self: Engine, arrivals: Any) -> Any:
        """As a fault in native code would end it."""
        if any(poison in raw for raw in arrivals.raws):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, arrivals)

    Engine.prepare = prepare  # type: ignore[method-assign]


if __name__ == "__main__":
    arrange(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["flightworthy", *sys.argv[3:]]
    main()
