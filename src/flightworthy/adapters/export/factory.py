"""Opens receivers of entries: ``hec+https://host:8088?ca=FILE&index=NAME`` and ``syslog+tls://host:6514?ca=FILE``.

The collector's token is the secret ``hec-token``. Without ``ca`` the system's authorities are trusted.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from flightworthy.adapters.export.hec import Hec
from flightworthy.adapters.export.syslog import Syslog
from flightworthy.governance.secrets import Secrets
from flightworthy.ground.errors import AdapterError

TOKEN = "hec-token"  # noqa: S105 - the name of a secret
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def open_hec(url: str, base: Path, secrets: Secrets) -> Hec:
    """Raises `AdapterError` without a token, or where it would travel in clear beyond this machine."""
    address = urlsplit(url.removeprefix("hec+"))
    if address.scheme != "https" and address.hostname not in _LOOPBACK:
        raise AdapterError("the token would travel in clear", where=url, found=address.scheme, expected="hec+https://…")
    token = secrets.get(TOKEN)
    if token is None:
        raise AdapterError("the collector wants a token", where=url, next_step=f"put it into the secret {TOKEN}")
    asked = parse_qs(address.query)
    return Hec(address, token, _trust(asked, base) if address.scheme == "https" else None, asked.get("index", [""])[0])


def open_syslog(url: str, base: Path, secrets: Secrets) -> Syslog:
    """Raises `AdapterError` where it is not ``syslog+tls``."""
    address = urlsplit(url.removeprefix("syslog+"))
    if address.scheme != "tls" or not address.hostname:
        raise AdapterError("syslog travels over TLS", where=url, expected="syslog+tls://host:6514")
    asked = parse_qs(address.query)
    return Syslog(address.hostname, address.port or 6514, _trust(asked, base), asked.get("name", [""])[0])


def _trust(asked: dict[str, list[str]], base: Path) -> ssl.SSLContext:
    file = asked.get("ca", [""])[0]
    try:
        context = ssl.create_default_context(cafile=str(base / file) if file else None)
    except OSError as error:
        raise AdapterError(f"the authorities cannot be read: {error}", where=file) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
