"""Who may call, by token: JWTs of one OpenID issuer, checked against the keys it publishes.

A token is checked without asking anybody: a thread fetches the issuer's key set (JWKS, RFC 7517) now and then. What a
token says about its own keys (``jwk``, ``jku``, ``x5u``, ``x5c``) is never looked at, and the algorithm must be one that
the key of this id is kept for, so that no token can choose how it is checked (RFC 8725).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.operation.service.callers import Caller
from flightworthy.operation.service.jwks import KINDS, Ring, fetch, may_ask, rows_of
from flightworthy.operation.service.keys import ROLES

_log = logging.getLogger("flightworthy.service")
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_TOKEN, _CACHED = 16_384, 10_000


@dataclass(frozen=True)
class Issuer:
    """Whose tokens count. ``jwks``: an https address, http on loopback only, or a file.

    ``roles_claim`` is a claim's name or a dotted path to it (``realm_access.roles``); ``roles`` says which of our roles
    its values stand for, and when empty they are our roles' names. ``leeway`` in seconds, 0 to 300. Raises `DataError`.
    """

    issuer: str
    audience: str
    jwks: str
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    roles_claim: str = "roles"
    roles: Mapping[str, str] = field(default_factory=dict)
    leeway: float = 30

    def __post_init__(self) -> None:
        for name in ("issuer", "audience", "jwks", "roles_claim"):
            if not getattr(self, name):
                raise DataError("may not be empty", where=f"issuer: {name}")
        for name in self.algorithms or ("",):
            if name not in KINDS:
                raise DataError("not an algorithm with a public key", "issuer: algorithms", name, ", ".join(KINDS))
        for role in self.roles.values():
            if role not in ROLES:
                raise DataError("no such role", "issuer: roles", role, ", ".join(ROLES))
        if not 0 <= self.leeway <= 300:
            raise DataError("no leeway for clocks", "issuer: leeway", self.leeway, "0 to 300 seconds")
        if "://" in self.jwks and not may_ask(self.jwks):
            raise DataError("no address of keys", "issuer: jwks", self.jwks.partition("://")[0] + "://…",
                            "https://… without a password in it, http://… on loopback, or a file")

    def granted(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        """Our roles of a token: none without the claim; None when the claim is anything but a list of texts."""
        found: Any = claims
        # A name with a dot in it may be one name: "https://example.org/roles" is how some issuers keep claims apart.
        for part in [self.roles_claim] if self.roles_claim in claims else self.roles_claim.split("."):
            if not isinstance(found, dict):
                return None
            if part not in found:
                return frozenset()
            found = found[part]
        if not isinstance(found, list) or not all(isinstance(value, str) for value in found):
            return None
        names = [self.roles.get(value, "") for value in found] if self.roles else found
        return frozenset(names) & frozenset(ROLES)


class Tokens:
    """Checks tokens of an issuer. ``clock`` gives seconds since 1970.

    Keys are fetched ``every`` so many seconds, and sooner when a token needs one that is not known, but never before
    ``rest`` seconds have passed; ``fetched`` is when that last went well. Raises `AdapterError` without the extra.

    >>> tokens = Tokens(Issuer("https://id.example.org", "flightworthy", "https://id.example.org/keys"))  # doctest: +SKIP
    """

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.time, every: float = 300, rest: float = 30) -> None:
        try:
            import cryptography  # noqa: F401 - PyJWT alone can check no public key
            import jwt
        except ImportError as error:
            raise AdapterError("'pyjwt[crypto]' is not installed",
                               next_step="run: pip install 'flightworthy[service]'") from error
        self.issuer = issuer
        self.fetched: float | None = None
        self._jwt, self._clock, self._every, self._rest = jwt, clock, every, rest
        self._ring = Ring([], issuer.algorithms)
        self._lock, self._wake, self._stop = threading.Lock(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def wanted(self) -> bool:
        """Whether a token came with a key id that is not known, so that a fetch may help."""
        return self._wake.is_set()

    def start(self) -> None:
        """Fetch in a thread of its own, now and from now on. Call `refresh` before it to answer no early caller wrongly."""
        self._thread = threading.Thread(target=self._run, name="token keys", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; waits for a fetch under way, at most 10 seconds."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(10)

    def refresh(self) -> bool:
        """Fetch the key set, and whether that worked; blocks for seconds. When it fails the keys stay and the log says so."""
        self._wake.clear()
        try:
            published = rows_of(fetch(self.issuer.jwks))
            ring = self._ring if published == self._ring.published else Ring(published, self.issuer.algorithms)
        except Exception as error:  # noqa: BLE001 - whatever others sent, the keys at hand stay good and the thread lives
            _log.warning("the token keys of %s cannot be fetched, %d known stay: %s", self.issuer.issuer,
                         len(self._ring.ids), f"{type(error).__name__}: {error}"[:300])
            return False
        if ring is not self._ring:
            _log.info("%d token keys of %s", len(ring.ids), self.issuer.issuer)
        self._ring, self.fetched = ring, self._clock()
        return True

    def who(self, text: str) -> Caller | None:
        """The caller a token stands for, None for any other text. Asks nobody; tens of microseconds, two when seen before."""
        if len(text) > _TOKEN or not text.isascii():
            return None
        now, ring, mark = self._clock(), self._ring, sha256(text.encode()).digest()
        with self._lock:
            known = ring.cache.get(mark)
            if known is not None:
                if now < known[1]:
                    ring.cache.move_to_end(mark)
                    return known[0]
                del ring.cache[mark]
        claims = self._claims(text, ring)
        caller = None if claims is None else self._caller(claims, now)
        if caller is not None and claims is not None:
            with self._lock:
                ring.cache[mark] = (caller, claims["exp"])
                if len(ring.cache) > _CACHED:
                    ring.cache.popitem(last=False)
        return caller

    def _claims(self, text: str, ring: Ring) -> dict[str, Any] | None:
        try:
            header = self._jwt.get_unverified_header(text)
            kid, name, kind = header.get("kid", ""), header.get("alg"), str(header.get("typ", "JWT"))
            if not isinstance(kid, str) or not isinstance(name, str) or kind.lower() not in _TYPES:
                return None
            if "crit" in header or "b64" in header:  # extensions change what a signature means; we know none
                return None
            if kid not in ring.ids:
                self._wake.set()
                return None
            key = ring.keys.get((kid, name))
            return None if key is None else self._jwt.decode(
                text, key, algorithms=[name], audience=self.issuer.audience, issuer=self.issuer.issuer,
                options={"require": ["exp", "iss", "aud", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False})
        except (self._jwt.PyJWTError, ValueError, RecursionError):  # what is no token is nobody's
            return None

    def _caller(self, claims: dict[str, Any], now: float) -> Caller | None:
        """By our clock, and stricter than the library about what a number and a name is."""
        exp, nbf, iat = (claims.get(name, now) for name in ("exp", "nbf", "iat"))
        if not all(type(value) in (int, float) and abs(value) < 1e12 for value in (exp, nbf, iat)):  # no bool, NaN, infinity
            return None
        late, early = now - self.issuer.leeway, now + self.issuer.leeway
        sub, roles = claims["sub"], self.issuer.granted(claims)
        if exp <= late or nbf > early or iat > early or roles is None or claims["iss"] != self.issuer.issuer:
            return None
        named = isinstance(sub, str) and 0 < len(sub) <= 255 and sub.isprintable()  # it goes into logs and the ledger
        return Caller(f"{sub} of {self.issuer.issuer}", roles) if named else None

    def _run(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            if not self._stop.wait(self._rest):
                self._wake.wait(max(0.0, self._every - self._rest))
