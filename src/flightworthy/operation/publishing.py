"""Publishes checkpoints beside the decisions."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from flightworthy.decision.engine import Engine
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.ground.errors import DataError, FlightworthyError
from flightworthy.operation.witnessing import Witnessing

_log = logging.getLogger("flightworthy.log")
EVERY = 0.5  # seconds: an entry is provable within a second
_SAY_AGAIN = 60.0  # seconds between two lines about the same trouble


class Publishing:
    """A thread that publishes what is new, twice a second, has witnesses sign it, and does both once more when it is closed.
    ``turn`` (0 to 1): when in each period, by the clock of the machine; ledgers that all did it at once would keep decisions
    waiting that come then."""

    def __init__(self, publisher: Publisher, witnessing: Witnessing | None = None, every: float = EVERY,
                 turn: float = 0.0) -> None:
        self._publisher, self._witnessing, self._every, self._turn = publisher, witnessing, every, turn
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
            over = self._over.wait(pause(time.monotonic(), self._every, self._turn))
            try:
                made = self._publisher.publish()
                if made is not None and self._witnessing is not None:
                    self._witnessing.sign(made)
            except Exception as error:  # noqa: BLE001 - entries stay durable; they are published when this is over
                if time.monotonic() - self._said >= _SAY_AGAIN:
                    self._said = time.monotonic()
                    ours = None if isinstance(error, FlightworthyError) else error
                    _log.error("no checkpoint could be published: %s", error, exc_info=ours)


def pause(now: float, every: float, turn: float) -> float:
    """Seconds until the next turn, in periods of ``every`` seconds that begin alike in all processes of a machine.

    >>> pause(10.125, 0.5, turn=0.0), pause(10.125, 0.5, turn=0.5)
    (0.375, 0.125)
    """
    return every - (now - turn * every) % every


def publishing(engine: Engine, turn: float = 0.0) -> AbstractContextManager[object]:
    """The thread for an engine, as long as the context lasts; nothing where it does not publish. Raises `DataError`,
    `ProofError` when the policy with the witnesses cannot be read."""
    if engine.publisher is None:
        return nullcontext()
    name = engine.pilot.manifest.adapters.witnesses
    witnessing = Witnessing(read_policy(engine.pilot.folder / name), engine.ledger) if name else None
    return Publishing(engine.publisher, witnessing, turn=turn)


def read_policy(path: Path) -> Policy:
    """A policy from its file. Raises `DataError`, `ProofError`."""
    try:
        return Policy.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the policy: {error}", where=str(path)) from error
