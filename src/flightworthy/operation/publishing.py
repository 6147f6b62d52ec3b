"""Publishes checkpoints beside the decisions."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext

from flightworthy.governance.log.publisher import Publisher
from flightworthy.ground.errors import FlightworthyError

_log = logging.getLogger("flightworthy.log")
EVERY = 0.5  # seconds: an entry is provable within a second
_SAY_AGAIN = 60.0  # seconds between two lines about the same trouble


class Publishing:
    """A thread that publishes what is new, twice a second, and once more when it is closed."""

    def __init__(self, publisher: Publisher, every: float = EVERY) -> None:
        self._publisher, self._every = publisher, every
        self._over, self._said = threading.Event(), -_SAY_AGAIN
        self._thread = threading.Thread(target=self._run, name="publishing", daemon=True)
        self._thread.start()

    def __enter__(self) -> Publishing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Publish what is left, and end."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self._every)
            try:
                self._publisher.publish()
            except FlightworthyError as error:  # entries stay durable; they are published when this is over
                if time.monotonic() - self._said >= _SAY_AGAIN:
                    self._said = time.monotonic()
                    _log.error("no checkpoint could be published: %s", error)


def publishing(publisher: Publisher | None) -> AbstractContextManager[object]:
    """The thread for a publisher, as long as the context lasts; nothing without one."""
    return nullcontext() if publisher is None else Publishing(publisher)
