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
    """A thread that publishes what is new, twice a second, has witnesses sign it, and does both once more when it is closed."""

    def __init__(self, publisher: Publisher, witnessing: Witnessing | None = None, every: float = EVERY) -> None:
        self._publisher, self._witnessing, self._every = publisher, witnessing, every
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
                made = self._publisher.publish()
                if made is not None and self._witnessing is not None:
                    self._witnessing.sign(made)
            except Exception as error:  # noqa: BLE001 - entries stay durable; they are published when this is over
                if time.monotonic() - self._said >= _SAY_AGAIN:
                    self._said = time.monotonic()
                    ours = None if isinstance(error, FlightworthyError) else error
                    _log.error("no checkpoint could be published: %s", error, exc_info=ours)


def publishing(engine: Engine) -> AbstractContextManager[object]:
    """The thread for an engine, as long as the context lasts; nothing where it does not publish. Raises `DataError`,
    `ProofError` when the policy with the witnesses cannot be read."""
    if engine.publisher is None:
        return nullcontext()
    name = engine.pilot.manifest.adapters.witnesses
    witnessing = Witnessing(read_policy(engine.pilot.folder / name), engine.ledger) if name else None
    return Publishing(engine.publisher, witnessing)


def read_policy(path: Path) -> Policy:
    """A policy from its file. Raises `DataError`, `ProofError`."""
    try:
        return Policy.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the policy: {error}", where=str(path)) from error
