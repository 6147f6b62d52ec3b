"""Commands about the service."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

from flightworthy.cli.pilots import rooms, say
from flightworthy.ground.clock import SystemClock, duration, iso
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.manifest.load import load
from flightworthy.operation.service.app import Limits
from flightworthy.operation.service.keys import Keys
from flightworthy.operation.service.serve import Listen
from flightworthy.operation.service.serve import serve as run

KEY_VARIABLE = "FLIGHTWORTHY_KEY"


def serve(path: Path, var: Path | None, address: tuple[str, int], tls: tuple[Path | None, Path | None], deadline: str) -> None:
    """Serve until a signal."""
    pilot, listen = load(path), Listen(*address, *tls)
    scheme = "http" if listen.certificate is None else "https"
    say(f"{pilot.name} on {scheme}://{listen.host}:{listen.port}; its description is at /openapi.json")
    run(pilot, rooms(pilot, var), listen, Limits(deadline=_duration(deadline) / 1e6))


def key_new(path: Path, var: Path | None, roles: list[str], lasts: str, note: str) -> None:
    """Print a new key, this once."""
    keys = _keys(path, var)
    expires = SystemClock().now() + _duration(lasts)
    text = keys.new(roles, expires, note)
    say(text)
    say(f"roles {', '.join(roles)}, until {iso(expires)}; it is stored as a hash only: keep it now")


def key_list(path: Path, var: Path | None) -> None:
    """All keys without their secrets."""
    for key in _keys(path, var).all().values():
        say(f"{key.id}  {', '.join(key.roles):<24}  until {iso(key.expires)}  {key.note}")


def key_revoke(path: Path, var: Path | None, name: str) -> None:
    """Forget a key."""
    _keys(path, var).revoke(name)
    say(f"key {name} is revoked")


def kill_switch(url: str, on: bool | None, why: str) -> None:
    """Read or turn the switch of a running service."""
    if on is not None and not why:
        raise DataError("an act needs a reason", next_step="give --why")
    body = None if on is None else json.dumps({"on": on, "why": why}).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/kill-switch", body, method="GET" if on is None else "PUT")  # noqa: S310
    if not url.startswith(("http://", "https://")):
        raise DataError("not the address of a service", found=url, expected="http://… or https://…")
    if os.environ.get(KEY_VARIABLE):
        request.add_header("Authorization", f"Bearer {os.environ[KEY_VARIABLE]}")
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - the scheme was checked
            said = json.load(reply)
    except urllib.error.HTTPError as error:
        raise AdapterError(f"the service refused: {error.read(2000).decode(errors='replace')}", where=url, found=error.code,
                           next_step=f"put a key with the role 'operate' into {KEY_VARIABLE}") from error
    except OSError as error:
        raise AdapterError(f"the service cannot be reached: {error}", where=url, retryable=True) from error
    say(f"kill switch {'on' if said['on'] else 'off'}" + (f", entry {said['entry']}, {said['at']}" if "entry" in said else ""))


def _keys(path: Path, var: Path | None) -> Keys:
    pilot = load(path)
    return Keys(rooms(pilot, var) / "keys.json")


def _duration(text: str) -> int:
    try:
        return duration(text)
    except ValueError as error:
        raise DataError(str(error), found=text) from error
