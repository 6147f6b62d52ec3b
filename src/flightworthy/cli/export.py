"""Commands that hand entries on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from flightworthy.cli.audit import policy_of, progress
from flightworthy.cli.pilots import parts, places, rooms, say
from flightworthy.decision.rooms import Rooms
from flightworthy.governance.export import Receiver
from flightworthy.ground import registry
from flightworthy.ground.errors import DataError
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.exporting import Position, check_folder, to_folder, to_receiver

_LOOK = 1.0  # seconds between looks for what is new


def export(path: Path, var: Path | None, to: str, first: int, form: str, follow: bool) -> None:
    """Of every shard: folders of their own, and one after the other to a receiver."""
    pilot = load(path)
    if to.partition(":")[0].partition("+")[0] not in ("hec", "syslog"):
        with parts(pilot, var) as opened:
            for i, (ledger, *_) in enumerate(opened):
                folder = Path(to) if len(opened) == 1 else Path(to) / str(i)
                say(f"{folder}: {to_folder(ledger, folder, first, form, progress):,} entries; what is private in them is sealed")
        return
    with _receiver(pilot, var, to) as receiver:
        while True:
            with parts(pilot, var) as opened:
                for place, (ledger, *_) in zip(places(pilot, var), opened, strict=True):
                    position = Position(place / "exports" / sha256(to.encode()).hexdigest()[:16])
                    sent = to_receiver(ledger, receiver, position, progress)
                    if sent or not follow:
                        say(f"{sent:,} entries sent, up to {position.get():,}")
            if not follow:
                return
            time.sleep(_LOOK)


@contextmanager
def _receiver(pilot: Pilot, var: Path | None, url: str) -> Iterator[Receiver]:
    where = Rooms.of(pilot, rooms(pilot, var))
    receiver: Receiver = registry.find("exports", url)(url, base=pilot.folder, secrets=where.open_secrets())
    try:
        yield receiver
    finally:
        receiver.close()


def check(folder: Path, policy: Path | None, keys: list[str]) -> None:
    """Print what holds."""
    if policy is None and not keys:
        raise DataError("an export holds only for keys that you trust", next_step="give --policy FILE or --key KEY")
    found, count = check_folder(folder, policy_of(policy, keys), progress)
    say(f"{count:,} entries, {found.first:,} to {found.last:,}: all there, as they were signed")
