"""Run a pilot's service: start its shards, listen, and on SIGTERM answer what is under way before leaving."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flightworthy.decision.rooms import Rooms, check_split, part_of
from flightworthy.governance.privacy.keys import PrivacyKeys
from flightworthy.governance.privacy.vault import Cover
from flightworthy.ground.clock import SystemClock
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.service.app import App, RefusedError
from flightworthy.operation.service.callers import Callers
from flightworthy.operation.service.desk import Desk
from flightworthy.operation.service.http import Listener
from flightworthy.operation.service.keys import LOOK, Keys
from flightworthy.operation.service.links import Link
from flightworthy.operation.service.logs import to_stderr
from flightworthy.operation.service.messages import Limits
from flightworthy.operation.service.metrics import Metrics
from flightworthy.operation.service.published import Published
from flightworthy.operation.service.rest import seldom_collect
from flightworthy.operation.service.spill import Spill
from flightworthy.operation.service.starts import Home
from flightworthy.operation.service.tokens import Issuer, Tokens

_log = logging.getLogger("flightworthy.service")
_PATIENCE = 30.0
_TURN = 0.005  # seconds: some turns of the loop


@dataclass(frozen=True)
class Listen:
    """Where, with what certificate (PEM files), how many seconds to go on answering after SIGTERM, and how many shards."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    private_key: Path | None = None
    notice: float = 2.0
    shards: int = 1
    limits: Limits = field(default_factory=Limits)


def serve(folder: Path, base: Path, listen: Listen) -> None:
    """Serve the pilot in a folder until a signal ends it; then everything under way is answered and the feature state saved.

    Raises `DataError` when it would be open to others without keys or cannot be sharded, `AdapterError` when an extra is
    missing, and what the shards say when they cannot start.
    """
    pilot = load(folder)
    _sharded(pilot, listen.shards)
    callers = _callers(pilot, base, listen.host)
    to_stderr()
    try:
        import uvloop
    except ImportError as error:
        raise AdapterError("'uvloop' is not installed", next_step="run: pip install 'flightworthy[service]'") from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Service(folder, pilot, base, listen, callers).run())


class Service:
    """The front: one process that listens, in front of its shards."""

    def __init__(self, folder: Path, pilot: Pilot, base: Path, listen: Listen, callers: Callers | None) -> None:
        self.folder, self.pilot, self.base, self.listen, self.callers = folder, pilot, base, listen, callers
        self.metrics, self.clock = Metrics(), SystemClock()
        self._jobs: list[asyncio.Task[Any]] = []

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        self.base.mkdir(parents=True, exist_ok=True)
        links = [Link(home, self.pilot.manifest.service.queue, self.metrics.batch_done) for home in self._homes()]
        secrets = Rooms.of(self.pilot, self.base).open_secrets
        spill = Spill(self.base / "spill.ndjson", Cover(PrivacyKeys(secrets())) if self.pilot.manifest.privacy else None)
        published = Published(self.pilot, [home.base for home in self._homes()])
        try:
            await asyncio.gather(*(link.start() for link in links))
            desk = self.metrics.desk = Desk(self.pilot, links, spill, self.clock)
            app = App(desk, self.metrics, self.callers, self.clock, published, self._reloaded)
            self._app = app
            listener = Listener(app.handle, self.listen.limits)
            self.metrics.broken = lambda: listener.broken
            seldom_collect()
            await self._until_signal(listener, desk)
        finally:
            for job in self._jobs:
                job.cancel()
            await asyncio.gather(*(link.leave() for link in links))
            spill.close()
            published.close()

    async def _until_signal(self, listener: Listener, desk: Desk) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._hup)
        server = await loop.create_server(listener, self.listen.host, self.listen.port, ssl=self._tls(), backlog=4096,
                                          reuse_address=True)
        self._jobs += [loop.create_task(listener.sweep()), loop.create_task(desk.take_in())]
        _log.info("%s listens on %s:%d with %d shards", self.pilot.name, self.listen.host,
                  server.sockets[0].getsockname()[1], len(desk.links))
        await ended.wait()
        _log.info("leaving: answering for %.1f s more", self.listen.notice)
        await listener.drain(self.listen.notice, lambda: self._stop(server, listener), _PATIENCE)

    async def _stop(self, server: asyncio.Server, listener: Listener) -> None:
        """Close the port. The kernel resets who has connected and was not taken yet, so they are all taken first."""
        loop = asyncio.get_running_loop()
        ports = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
        server.close()
        await asyncio.sleep(_TURN)
        for port in ports:
            taken = []
            port.setblocking(False)
            with contextlib.suppress(OSError):  # nobody waits any more, or one has gone again
                while True:
                    taken.append(port.accept()[0])
            port.close()
            self._jobs += [loop.create_task(loop.connect_accepted_socket(listener, one, ssl=self._tls())) for one in taken]

    def _homes(self) -> list[Home]:
        models = self.base / self.pilot.manifest.adapters.models.removeprefix("file:///")
        n = self.listen.shards
        return [Home(self.folder, part_of(self.base, i, n), models) for i in range(n)]

    def _tls(self) -> ssl.SSLContext | None:
        if self.listen.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.listen.certificate, self.listen.private_key)
        except (OSError, ssl.SSLError) as error:
            raise DataError(f"the certificate cannot be used: {error}", where=str(self.listen.certificate)) from error
        return context

    def _reloaded(self) -> None:
        """Every shard decides by the new version: the front follows."""
        self.pilot = load(self.folder)
        self._app.desk.use(self.pilot)
        self._app.use()

    def _hup(self) -> None:
        self._signalled = asyncio.get_running_loop().create_task(self._reload_by_signal())

    async def _reload_by_signal(self) -> None:
        try:
            await self._app.renew("SIGHUP", "signal")
        except RefusedError as refused:
            _log.error("%s: %s", refused.said.title, refused.said.detail)


def _callers(pilot: Pilot, base: Path, host: str) -> Callers | None:
    """Who may call; None: everybody who reaches this machine's own address."""
    keys, oidc = Keys(base / "keys.json", LOOK), pilot.manifest.service.oidc
    tokens = None
    if oidc is not None:
        tokens = Tokens(Issuer(oidc.issuer, oidc.audience, oidc.jwks, tuple(oidc.algorithms), oidc.roles_claim, oidc.roles))
        tokens.refresh()  # no early caller shall be refused for want of keys
        tokens.start()
    if keys.all() or tokens is not None:
        return Callers(keys, tokens)
    if not loopback(host):
        raise DataError("nobody but this machine may call without a key", where=host,
                        next_step="run: flightworthy key new, name an identity provider in service.oidc, or listen on 127.0.0.1")
    return None


def _sharded(pilot: Pilot, shards: int) -> None:
    """Events are split by one entity: every group of features must be that entity's."""
    check_split(pilot, shards)
    if pilot.manifest.service.ledger_down == "spill" and not any(not isinstance(step, str) for step in pilot.fallback):
        raise DataError("to decide beside the ledger a pilot needs a safe default", where="policy.fallback",
                        next_step="end the fallback with {then: ACTION}, or set service.ledger_down: refuse")


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
