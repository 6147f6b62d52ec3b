"""Commands about the store of the ledger."""

from __future__ import annotations

import getpass
from pathlib import Path

from flightworthy.cli.audit import progress
from flightworthy.cli.people import engines
from flightworthy.cli.pilots import places, say
from flightworthy.decision import retention
from flightworthy.decision.rooms import Rooms
from flightworthy.governance import moving
from flightworthy.governance.privacy import vault
from flightworthy.governance.privacy.keys import WRAPPING, PrivacyKeys, renewed, retired
from flightworthy.ground import registry
from flightworthy.manifest.load import load


def move(path: Path, var: Path | None, url: str) -> None:
    """The ledgers of all shards."""
    pilot = load(path)
    for place in places(pilot, var):
        source = Rooms.of(pilot, place).open_ledger(read_only=True)
        target = registry.find("ledgers", url)(url, base=place)
        try:
            count = moving.move(source, target, progress)
        finally:
            source.close()
            target.close()
        say(f"{place}: {count:,} entries are there, with their checkpoints and all that is in quarantine")
    say(f"now set adapters.ledger to the new address, without a password, and run: flightworthy audit verify {path}")


def expire(path: Path, var: Path | None) -> None:
    """Of all shards."""
    with engines(load(path), var) as opened:
        for engine in opened:
            done = retention.expire(engine, getpass.getuser())
            say(f"{done.entries:,} records expired, {done.on_hold:,} are on hold, {done.told_since:,} have younger outcomes; "
                f"{done.acts} acts say so"
                + (f"; {done.left}" if done.left else ""))


def rewrap(path: Path, var: Path | None) -> None:
    """Of all shards; the old key is destroyed only when nothing lies under it any more."""
    pilot = load(path)
    with engines(pilot, var) as opened:
        stores = [Rooms.of(pilot, place).open_secrets() for place in places(pilot, var)]
        fresh = dict.fromkeys(store.get(WRAPPING) for store in stores)  # shards may share a key
        for store in stores:
            if store.get(WRAPPING) in fresh:
                renewed(store)
        count = sum(vault.rewrap(engine.ledger.subjects, PrivacyKeys(store))
                    for engine, store in zip(opened, stores, strict=True))
        for engine in opened:
            engine.ledger.scrub()
        for store in stores:
            retired(store)
    say(f"{count:,} keys lie under a new one; the old one is destroyed")
