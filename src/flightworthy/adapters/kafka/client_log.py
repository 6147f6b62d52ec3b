"""What the client library says of its connections: once, not twenty times a second for as long as a broker is away."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

_SELDOM = 30.0  # seconds
_NUMBERS = re.compile(r"\d+")


class Seldom(logging.Filter):
    """Lets a line pass once in so many seconds; which client says it, and any other number in it, makes no difference. The next
    one that passes says how many did not."""

    def __init__(self, seconds: float = _SELDOM, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._clock, self._lock = seconds, clock, threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}  # line → when it passed, how many were held back since

    def filter(self, record: logging.LogRecord) -> bool:
        line, now = record.getMessage(), self._clock()
        key = _NUMBERS.sub("", line)
        with self._lock:
            before, held = self._said.get(key, (now - self._seconds, 0))
            if now - before < self._seconds:
                self._said[key] = before, held + 1
                return False
            self._said[key] = now, 0
        if held:
            record.msg, record.args = f"{line} ({held} more lines like this one since)", ()
        return True


client_log = logging.getLogger("flightworthy.kafka")
client_log.addFilter(Seldom())
