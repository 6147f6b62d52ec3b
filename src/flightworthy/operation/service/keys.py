"""Who may call: API keys with roles and an end, kept as hashes.

A key is ``fw_<id>_<secret>``; the secret has 256 random bits, so that its SHA-256 is as good as a slow hash. The file
holds only that. It is read again when it changed: a revoked key stops working within a second.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from flightworthy.ground.clock import SystemClock
from flightworthy.ground.errors import DataError

DECIDE, OBSERVE, OPERATE, APPROVE = "decide", "observe", "operate", "approve"
ROLES = (DECIDE, OBSERVE, OPERATE, APPROVE)
LOOK = 0.5
"""Seconds for which a service need not look at the file again."""
_PATIENCE = 10.0


@dataclass(frozen=True)
class Key:
    """A key as stored. ``expires`` in microseconds UTC; ``lasts`` is the microseconds it was made for, 0 in old files."""

    id: str
    hash: str
    roles: tuple[str, ...]
    expires: int
    note: str = ""
    lasts: int = 0


class Keys:
    """The keys of one pilot, in one file of mode 0600; beside it a lock, so that two commands at once lose nothing.

    ``every`` is how many seconds of ``tick`` pass until the file is looked at again: 0, each time, is for commands, `LOOK`
    for a service. What this object writes itself counts at once.
    """

    def __init__(self, path: Path, every: float = 0.0, tick: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._every, self._tick, self._looked = every, tick, -float("inf")
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> dict[str, Key]:
        """Keys by id. Raises `DataError` when the file cannot be read."""
        now = self._tick()
        if now - self._looked >= self._every:
            self._look()
            self._looked = now  # only once it went well: a file that cannot be read lets nobody in
        return self._keys

    def new(self, roles: Sequence[str], expires: int, note: str = "", now: int | None = None) -> str:
        """Make a key; its text is returned this once and stored nowhere. Raises `DataError` for an unknown role.

        ``expires`` and ``now`` in microseconds UTC; ``now`` is the machine's clock unless given.
        """
        for role in roles:
            if role not in ROLES:
                raise DataError("no such role", found=role, expected=", ".join(ROLES))
        lasts = max(0, expires - (SystemClock().now() if now is None else now))
        with self._changing() as keys:
            return _add(keys, Key("", "", tuple(roles), expires, note, lasts))

    def rotate(self, name: str, overlap_microseconds: int, now: int) -> str:
        """Make a key like another, which ends after the overlap or at its own end, whichever comes first.

        The new key has the same roles and note and, from ``now`` (microseconds UTC), the time the old one was made for; after
        a key of an old file, which does not say how long that was, it ends when that would have. Returned as by `new`.
        Raises `DataError` when there is no such key, when it has ended, or when the overlap is negative.
        """
        if overlap_microseconds < 0:
            raise DataError("no overlap", found=overlap_microseconds, expected="0 microseconds or more")
        self._find(name)
        with self._changing() as keys:
            old = self._find(name)
            if old.expires <= now:
                raise DataError("the key has ended", found=name, next_step="run: flightworthy key new")
            keys[name] = replace(old, expires=min(old.expires, now + overlap_microseconds))
            return _add(keys, replace(old, expires=now + old.lasts if old.lasts else old.expires))

    def revoke(self, name: str) -> None:
        """Forget a key. Raises `DataError` when there is none."""
        self._find(name)
        with self._changing() as keys:
            self._find(name)
            del keys[name]

    def who(self, text: str, now: int) -> Key | None:
        """The key behind a text, if it is one and its time (microseconds UTC) has not come."""
        prefix, _, rest = text.partition("_")
        name, _, secret = rest.partition("_")
        key = self.all().get(name)
        known = key.hash if key is not None else "0" * 64
        right = hmac.compare_digest(known, _hash(secret))  # the same work for a wrong name
        return key if key is not None and prefix == "fw" and right and now < key.expires else None

    def _find(self, name: str) -> Key:
        self._look()
        if name not in self._keys:
            raise DataError("no such key", found=name, next_step="run: flightworthy key list")
        return self._keys[name]

    def _look(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, {}
            return
        # The inode tells two files apart that are as long and were written in the same tick of the file system's clock.
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp != self._stamp:
            try:
                rows = json.loads(self.path.read_text())
                self._keys = {row["id"]: Key(**{**row, "roles": tuple(row["roles"])}) for row in rows}
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise DataError(f"the keys cannot be read: {error}", where=str(self.path),
                                next_step="restore the file, or delete it and make new keys") from error
            self._stamp = stamp

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """All keys as they are now, to be changed by nobody else until they are written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The lock is a file of its own, because the keys' file is replaced, and stays: whoever deleted it could do so
        # under somebody who has just opened it.
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._hold(lock)
            self._look()
            keys = dict(self._keys)
            yield keys
            self._write(list(keys.values()))
            self._look()
        finally:
            os.close(lock)

    def _hold(self, lock: int) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise DataError(f"another command has been changing the keys for {_PATIENCE:g} s", where=str(self.path),
                                    next_step="wait for it to end", retryable=True) from None
                time.sleep(0.01)

    def _write(self, keys: list[Key]) -> None:
        rows: list[dict[str, Any]] = [asdict(key) for key in keys]
        part = self.path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(rows, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def _add(keys: dict[str, Key], like: Key) -> str:
    name = next(name for name in iter(lambda: secrets.token_hex(4), "") if name not in keys)
    secret = secrets.token_urlsafe(32)
    keys[name] = replace(like, id=name, hash=_hash(secret))
    return f"fw_{name}_{secret}"


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
