"""Commands about the service."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from flightworthy.cli.pilots import rooms, say
from flightworthy.ground.clock import SystemClock, duration, iso
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.manifest.load import load
from flightworthy.operation.service.keys import Keys
from flightworthy.operation.service.serve import Listen
from flightworthy.operation.service.serve import serve as run

KEY_VARIABLE = "FLIGHTWORTHY_KEY"


def serve(path: Path, var: Path | None, address: tuple[str, int], tls: tuple[Path | None, Path | None], shards: int,
          notice: str) -> None:
    """Serve until a signal."""
    pilot, listen = load(path), Listen(*address, *tls, notice=span(notice) / 1e6, shards=shards)
    scheme = "http" if listen.certificate is None else "https"
    say(f"{pilot.name} on {scheme}://{listen.host}:{listen.port}; its description is at /openapi.json")
    run(path, rooms(pilot, var), listen)


def key_new(path: Path, var: Path | None, roles: list[str], lasts: str, note: str) -> None:
    """Print a new key, this once."""
    keys = _keys(path, var)
    expires = SystemClock().now() + span(lasts)
    text = keys.new(roles, expires, note)
    say(text)
    say(f"roles {', '.join(roles)}, until {iso(expires)}; it is stored as a hash only: keep it now")


def key_rotate(path: Path, var: Path | None, name: str, overlap: str) -> None:
    """Print the key that takes another one's place."""
    say(_keys(path, var).rotate(name, span(overlap), SystemClock().now()))
    say(f"key {name} is good for {overlap} more")


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
    said = call(url, "/v1/kill-switch", "GET" if on is None else "PUT", None if on is None else {"on": on, "why": why})
    say(f"kill switch {'on' if said['on'] else 'off'}" + (f", entry {said['entry']}, {said['at']}" if "entry" in said else ""))


def reload(url: str, why: str) -> None:
    """Read manifest and models of a running service again."""
    said = call(url, "/v1/reload", "POST", {"why": why})
    say(f"reloaded: pilot {said['pilot'][:12]}, model {said['model'][:12]}, entry {said['entry']}, {said['at']}")


def call(url: str, path: str, method: str, content: dict[str, object] | None) -> Any:
    """Ask a running service. Raises `AdapterError`."""
    if not url.startswith(("http://", "https://")):
        raise DataError("not the address of a service", found=url, expected="http://… or https://…")
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", body, method=method)  # noqa: S310 - the scheme was checked
    if os.environ.get(KEY_VARIABLE):
        request.add_header("Authorization", f"Bearer {os.environ[KEY_VARIABLE]}")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            found: Any = json.load(reply)
    except urllib.error.HTTPError as error:
        raise AdapterError(f"the service refused: {error.read(2000).decode(errors='replace')}", where=url, found=error.code,
                           next_step=f"put a key with the role 'operate' into {KEY_VARIABLE}") from error
    except OSError as error:
        raise AdapterError(f"the service cannot be reached: {error}", where=url, retryable=True) from error
    return found


def _keys(path: Path, var: Path | None) -> Keys:
    pilot = load(path)
    return Keys(rooms(pilot, var) / "keys.json")


def span(text: str) -> int:
    """Microseconds of an option's text. Raises `DataError`."""
    try:
        return duration(text)
    except ValueError as error:
        raise DataError(str(error), found=text) from error
