"""A broker that is away for an hour is a few lines in the log."""

from __future__ import annotations

import logging

import pytest

from flightworthy.adapters.kafka.client_log import Seldom

LINE = "FAIL [worker#consumer-%d] [thrd:127.0.0.1:9092/1]: Connect to 127.0.0.1:9092 failed (after %dms in state CONNECT)"


def test_lines_that_only_differ_in_numbers_are_said_seldom(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    log = logging.getLogger("tests.client_log")
    seldom = Seldom(30.0, lambda: now[0])
    log.addFilter(seldom)
    try:
        for second in range(61):
            now[0] = 100.0 + second
            for client in (3, 4):
                log.error(LINE, client, second)
        log.error("TERMINATE [worker#consumer-%d]: ends", 3)
    finally:
        log.removeFilter(seldom)
    first = LINE % (3, 0)
    assert caplog.messages == [
        first, f"{LINE % (3, 30)} (59 more lines like this one since)", f"{LINE % (3, 60)} (59 more lines like this one since)",
        "TERMINATE [worker#consumer-3]: ends"]
