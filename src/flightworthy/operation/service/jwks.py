"""The keys an issuer publishes (JWKS, RFC 7517): fetched, and sorted by what each may be used for."""

from __future__ import annotations

import ipaddress
import json
import logging
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from flightworthy.operation.service.callers import Caller

_log = logging.getLogger("flightworthy.service")
# What a published key may be used for. Symmetric algorithms are not in it: a public key would be their secret.
KINDS: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"), "EdDSA": ("OKP", "Ed25519")}
_BODY, _TIMEOUT = 1 << 20, 3.0


class Ring:
    """One fetched key set, and the callers known by it. A changed set begins an empty cache: what a key signed ends with it."""

    def __init__(self, published: list[Any], algorithms: tuple[str, ...]) -> None:
        self.published, ignored = published, 0
        self.keys: dict[tuple[str, str], Any] = {}
        self.cache: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        for row in published:
            made = {(row.get("kid", ""), name): key for name in algorithms if (key := _key(row, name)) is not None}
            ignored += not made
            self.keys = {**made, **self.keys}  # of two keys with one id the first counts
        self.ids = {kid for kid, _ in self.keys}
        if ignored:
            _log.warning("%d of the %d published token keys are of no use here and ignored", ignored, len(published))


class _SameHost(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage,
                         newurl: str) -> urllib.request.Request | None:
        fp.close()  # or its body would be read to its end, however long
        if urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            raise OSError("it redirects to another scheme or host")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(where: str) -> bytes:
    """The bytes of a key set. Raises `OSError`, or `ValueError` when it has too many."""
    body, until = b"", time.monotonic() + _TIMEOUT
    if "://" not in where:
        with Path(where).open("rb") as file:
            body = file.read(_BODY + 1)
    else:  # http is loopback, which no proxy reaches
        proxy = urllib.request.ProxyHandler({} if urlsplit(where).scheme == "http" else None)
        try:
            with urllib.request.build_opener(_SameHost, proxy).open(where, timeout=_TIMEOUT) as reply:
                while len(body) <= _BODY and (part := reply.read1(65_536)):
                    body += part
                    if time.monotonic() > until:
                        raise TimeoutError(f"not sent within {_TIMEOUT} s")
        except urllib.error.HTTPError as error:
            error.close()
            raise
    if len(body) > _BODY:
        raise ValueError("it has more than 1 MiB")
    return body


def rows_of(body: bytes) -> list[Any]:
    """The keys of a set. Raises `ValueError` when it is none."""
    found = json.loads(body)
    rows = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise ValueError('it is no key set: {"keys": […]}')
    return rows


def _key(row: Any, name: str) -> Any:
    """The public key that a row publishes for an algorithm; None when it does not."""
    import jwt

    kty, crv = KINDS[name]
    try:
        if row["kty"] != kty or row.get("crv", crv) != crv or "d" in row or not isinstance(row.get("kid", ""), str):
            return None  # with "d" it is a private key that everybody can read
        if row.get("alg", name) != name or row.get("use", "sig") != "sig" or "verify" not in row.get("key_ops", ["verify"]):
            return None
        key = jwt.PyJWK(row, name).key
    except Exception:  # noqa: BLE001 - the ring counts and logs it; not the error, whose text may hold a private key
        return None
    return key if kty != "RSA" or key.key_size >= 2048 else None


def may_ask(address: str) -> bool:
    """Whether keys may come from there: https, or http on loopback."""
    try:
        parts = urlsplit(address)
        if not parts.hostname or parts.username is not None or parts.scheme not in ("http", "https"):
            return False
        return parts.scheme == "https" or parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:  # no address at all, or http to a name
        return False
