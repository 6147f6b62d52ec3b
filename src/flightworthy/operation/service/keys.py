"""Who may call: API keys with roles and an end, kept as hashes.

A key is ``fw_<id>_<secret>``; the secret has 256 random bits, so that its SHA-256 is as good as a slow hash. The file
holds only that. It is read again when it changed: a revoked key stops working within a second.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from flightworthy.ground.errors import DataError

DECIDE, OBSERVE, OPERATE = "decide", "observe", "operate"
ROLES = (DECIDE, OBSERVE, OPERATE)


@dataclass(frozen=True)
class Key:
    """A key as stored. ``expires`` in microseconds UTC."""

    id: str
    hash: str
    roles: tuple[str, ...]
    expires: int
    note: str = ""


class Keys:
    """The keys of one pilot, in one file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> dict[str, Key]:
        """Keys by id. Raises `DataError` when the file cannot be read."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return {}
        if (found.st_mtime_ns, found.st_size) != self._stamp:
            try:
                rows = json.loads(self.path.read_text())
                self._keys = {row["id"]: Key(**{**row, "roles": tuple(row["roles"])}) for row in rows}
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise DataError(f"the keys cannot be read: {error}", where=str(self.path),
                                next_step="restore the file, or delete it and make new keys") from error
            self._stamp = (found.st_mtime_ns, found.st_size)
        return self._keys

    def new(self, roles: Sequence[str], expires: int, note: str = "") -> str:
        """Make a key; its text is returned this once and stored nowhere. Raises `DataError` for an unknown role."""
        for role in roles:
            if role not in ROLES:
                raise DataError("no such role", found=role, expected=", ".join(ROLES))
        name, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        self._write([*self.all().values(), Key(name, _hash(secret), tuple(roles), expires, note)])
        return f"fw_{name}_{secret}"

    def revoke(self, name: str) -> None:
        """Forget a key. Raises `DataError` when there is none."""
        keys = dict(self.all())
        if name not in keys:
            raise DataError("no such key", found=name, next_step="run: flightworthy key list")
        del keys[name]
        self._write(list(keys.values()))

    def who(self, text: str, now: int) -> Key | None:
        """The key behind a text, if it is one and its time has not come."""
        prefix, _, rest = text.partition("_")
        name, _, secret = rest.partition("_")
        key = self.all().get(name)
        known = key.hash if key is not None else "0" * 64
        right = hmac.compare_digest(known, _hash(secret))  # the same work for a wrong name
        return key if key is not None and prefix == "fw" and right and now < key.expires else None

    def _write(self, keys: list[Key]) -> None:
        rows: list[dict[str, Any]] = [asdict(key) for key in keys]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(rows, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
