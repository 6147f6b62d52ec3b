"""Run a pilot's service: open the engine, listen, and on SIGTERM answer what is under way before leaving."""

from __future__ import annotations

import ipaddress
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightworthy.decision.engine import Engine
from flightworthy.decision.work import Arrivals
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.service.app import App, Limits
from flightworthy.operation.service.batcher import Batcher
from flightworthy.operation.service.keys import Keys
from flightworthy.operation.service.metrics import Metrics


@dataclass(frozen=True)
class Listen:
    """Where, and with what certificate (PEM files)."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    private_key: Path | None = None


def serve(pilot: Pilot, base: Path, listen: Listen, limits: Limits) -> None:
    """Serve until a signal ends it; then everything under way is answered and the feature state saved.

    Raises `DataError` when it would be open to others without keys, `ModelError` or `LedgerError` when the engine cannot
    open.
    """
    keys = Keys(base / "keys.json")
    guarded = bool(keys.all())
    if not guarded and not loopback(listen.host):
        raise DataError("nobody but this machine may call without a key", where=listen.host,
                        next_step="run: flightworthy key new, or listen on 127.0.0.1")
    metrics = Metrics()
    engine = Engine.open(pilot, base)
    engine.process(Arrivals([], engine.clock.now()))  # loads all compiled code before the first request does
    batcher = Batcher(engine, watch=metrics.batch_done)
    try:
        server = _server(App(engine, batcher, metrics, keys if guarded else None, limits), listen)
        for number in (signal.SIGTERM, signal.SIGINT):
            # The server hears these itself, drains, and raises them again for whoever ran it: we have work left to do.
            signal.signal(number, lambda *_: None)
        server.run()
    finally:
        batcher.close()
        engine.close()


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server(app: App, listen: Listen) -> Any:
    try:
        import uvicorn
    except ImportError as error:
        raise AdapterError("'uvicorn' is not installed", next_step="run: pip install 'flightworthy[service]'") from error
    return uvicorn.Server(uvicorn.Config(
        app, host=listen.host, port=listen.port, http="httptools", ws="none", lifespan="off", interface="asgi3",
        log_level="warning", access_log=False, server_header=False, date_header=False, proxy_headers=False, backlog=4096,
        timeout_graceful_shutdown=30, ssl_certfile=listen.certificate, ssl_keyfile=listen.private_key))
