"""Snapshots of the feature state beside the decisions: written by a forked process, which sees the state as it was at the fork
while the shard goes on."""

from __future__ import annotations

import logging
import os
import time

from flightworthy.decision.engine import Engine

_log = logging.getLogger("flightworthy.service")
_SHARE = 4  # a snapshot that took a second is followed by at least so many seconds without one
_PAUSE = 60.0  # seconds after which a fork that was refused is tried again


class Saver:
    """Of one engine. Snapshots only shorten a start: when one fails, the ledger still has everything."""

    def __init__(self) -> None:
        self._child = 0
        self._began = self._next = 0.0

    @property
    def ready(self) -> bool:
        """Whether no snapshot is being written, and the last one was long enough ago."""
        self._look(os.WNOHANG)
        return not self._child and time.monotonic() >= self._next

    def save(self, engine: Engine) -> None:
        """Begin a snapshot of what the state is now; all batches must be committed."""
        self._began = time.monotonic()
        try:
            child = os.fork()
        except OSError as error:  # no memory, or no process to spare
            _log.warning("no snapshot was written: %s", error)
            self._next = self._began + _PAUSE
            return
        if child:
            self._child = child
            return
        status = 1
        try:  # in the child: nothing of the parent may be held open, least of all its lock and its socket
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            os.nice(10)
            engine.save()
            status = 0
        except Exception as error:  # noqa: BLE001 - said here, since nobody above is left to say it
            _log.warning("a snapshot of the feature state failed: %s: %s", type(error).__name__, error)
        finally:
            os._exit(status)

    def wait(self) -> None:
        """Until no snapshot is being written."""
        self._look(0)

    def _look(self, how: int) -> None:
        if not self._child:
            return
        found, status = os.waitpid(self._child, how)
        if not found:
            return
        now = time.monotonic()
        self._child, self._next = 0, now + _SHARE * (now - self._began)
        if status:
            _log.warning("no snapshot was written (status %d); the next start reads more of the ledger", status)
