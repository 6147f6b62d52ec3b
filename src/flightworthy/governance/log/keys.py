"""The keys a log is signed with: kept as a secret, one a line; all of them sign, the first one names the log."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable

from flightworthy.governance.log.note import Signer
from flightworthy.governance.secrets import Secrets

LOG_KEY = "log-key"


def signers(secrets: Secrets, pilot: str, part: str = "", draw: Callable[[int], bytes] = random.token_bytes) -> list[Signer]:
    """The signers of a log; where there is no key yet, one is made. ``part`` names a shard: logs that share a key must not share
    a name. Raises `AdapterError`, `ProofError`."""
    text = secrets.get(LOG_KEY)
    if text is None:
        secrets.put(LOG_KEY, made(pilot, draw).secret(), new=True)
        text = secrets.get(LOG_KEY) or ""
    found = [Signer.parse(line) for line in text.split("\n") if line.strip()]
    return [signer.named(f"{signer.verifier.name}/{part}") for signer in found] if part else found


def made(pilot: str, draw: Callable[[int], bytes] = random.token_bytes) -> Signer:
    """A new key, with a name that no other log has."""
    return Signer(f"flightworthy/{pilot}/{draw(4).hex()}", draw(32))


def rotated(secrets: Secrets, draw: Callable[[int], bytes] = random.token_bytes) -> list[Signer]:
    """Put a new key of the same name in front: the old ones sign along until they are taken out. Raises `AdapterError`,
    `ProofError`."""
    old = signers(secrets, "")
    fresh = Signer(old[0].verifier.name, draw(32))
    secrets.put(LOG_KEY, "\n".join(signer.secret() for signer in [fresh, *old]))
    return [fresh, *old]
