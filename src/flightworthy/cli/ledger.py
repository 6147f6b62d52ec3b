"""Commands about the store of the ledger."""

from __future__ import annotations

import sys
from pathlib import Path

from flightworthy.cli.pilots import places, say
from flightworthy.decision.engine import Rooms
from flightworthy.governance import moving
from flightworthy.ground import registry
from flightworthy.manifest.load import load


def move(path: Path, var: Path | None, url: str) -> None:
    """The ledgers of all shards."""
    pilot = load(path)
    for place in places(pilot, var):
        source = Rooms.of(pilot, place).open_ledger(read_only=True)
        target = registry.find("ledgers", url)(url, base=place)
        try:
            count = moving.move(source, target, _progress)
        finally:
            source.close()
            target.close()
        say(f"{place}: {count:,} entries are there, with their checkpoints and all that is in quarantine")
    say(f"now set adapters.ledger to {url} (without its password) and run: flightworthy audit verify {path}")


def _progress(done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} entries ")
