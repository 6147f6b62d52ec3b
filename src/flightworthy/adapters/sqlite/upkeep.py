"""What need not be done within a commit, in a thread beside the commits."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from flightworthy.ground.errors import LedgerError

_log = logging.getLogger("flightworthy.adapters")
_EVERY, _CHECKPOINT = 0.05, 0.25  # seconds, while there are commits: often, so that each time takes few milliseconds
_SAY_AGAIN = 60.0  # seconds between two lines about the same trouble


class Upkeep:
    """A thread that lives from the first commit to `close`: moves what was written ahead, then what SQLite wrote ahead."""

    def __init__(self, move: Callable[[], None], checkpoint: Callable[[], None]) -> None:
        self._move, self._checkpoint = move, checkpoint
        self._due, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._next = self._said = 0.0

    def committed(self) -> None:
        """There is something to do."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads now: the next commit tries again
                thread.start()
                self._thread = thread
        self._due.set()

    def close(self) -> None:
        """End the thread; what is still ahead stays there, durable all the same."""
        self._over.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            self._due.wait()
            self._due.clear()
            try:
                self._move()
                if time.monotonic() >= self._next:
                    self._next = time.monotonic() + _CHECKPOINT
                    self._checkpoint()
            except LedgerError as error:  # commits go on while there is room ahead; then they meet it themselves
                self._due.set()
                if time.monotonic() >= self._said:
                    self._said = time.monotonic() + _SAY_AGAIN
                    _log.warning("what was written ahead cannot be moved into the tables now: %s", error)
