"""The command that asks another model."""

from __future__ import annotations

import json
from pathlib import Path

from flightworthy.cli.pilots import parts, rooms, say
from flightworthy.cli.run import instant, newest, plain
from flightworthy.decision.rooms import Rooms
from flightworthy.decision.whatif import WhatIf
from flightworthy.decision.whatif import what_if as ask_again
from flightworthy.ground.money import say as money
from flightworthy.manifest.load import load
from flightworthy.model.artifact import ModelStore
from flightworthy.model.asked import LoadedModel

_EVER = 2**62


def what_if(path: Path, var: Path | None, as_json: bool, digest: str, period: tuple[str | None, str | None]) -> None:
    """Shard by shard."""
    pilot = load(path)
    store = ModelStore(Rooms.of(pilot, rooms(pilot, var)).models)
    asked = LoadedModel(store.load(store.find(digest)), pilot.folder)
    since, until = (instant(text) for text in period)
    with parts(pilot, var) as opened:
        now = newest(pilot, opened)
        for ledger, vault, base in opened:
            found = ask_again(pilot, ledger, asked, -_EVER if since is None else since, _EVER if until is None else until, now,
                              vault, base)
            if as_json:
                say(json.dumps({**plain(found), "difference": str(found.difference)}, indent=2))
            else:
                _tell(found)


def _tell(found: WhatIf) -> None:
    say(f"{found.decisions:,} decisions asked again with model {found.model[:12]}: {found.bits:,} other outputs, "
        f"{found.actions:,} other actions; left out: {found.held_out:,} of the control group, {found.erased:,} about people who "
        "were erased")
    for change, count in found.changes.items():
        say(f"  {count:>10,}  {change}")
    was, instead, more = (money(amount, found.currency) for amount in (found.worth, found.worth_instead, found.difference))
    say(f"  {found.priced:,} have an outcome: worth {was} as they were, {instead} instead, {more} more, if the truth does not "
        "depend on the action")
