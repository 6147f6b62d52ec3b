"""When all of a partition is here."""

from __future__ import annotations

import logging

import pytest

from flightworthy.adapters.kafka.ends import Ends


def came(ends: Ends, partition: int, offset: int, now: float) -> None:
    """A record, and where it lies behind a gap once more."""
    assert ends.passed(partition, offset, now) or ends.passed(partition, offset, now)


def ended(ends: Ends, partition: int, offset: int, now: float) -> None:
    """An end, and where it lies behind a gap once more."""
    assert ends.reached(partition, offset, now) or ends.reached(partition, offset, now)


def test_an_end_counts_that_follows_what_was_read() -> None:
    ends = Ends()
    ends.started(0, 7, 0.0)
    ended(ends, 0, 7, 1.0)  # nothing since
    assert ends.drained(0, 1.0)
    came(ends, 0, 7, 99.0)
    assert not ends.drained(0, 100.0)
    ended(ends, 0, 8, 1.0)
    assert ends.drained(0, 1.0)
    ends.started(1, None, 0.0)
    ended(ends, 1, 0, 1.0)  # an empty topic
    assert ends.drained(1, 1.0)


def test_an_end_that_was_said_of_another_place_does_not_count() -> None:
    ends = Ends()
    ends.started(0, 7, 0.0)
    ended(ends, 0, 500, 1.0)  # of where the client was before: records are still to come
    assert not ends.drained(0, 30.0)
    came(ends, 0, 7, 99.0)
    assert not ends.drained(0, 300.0)
    ended(ends, 0, 500, 300.0)  # again, between two of them
    assert not ends.drained(0, 300.1)
    came(ends, 0, 499, 99.0)
    ended(ends, 0, 500, 301.0)
    assert ends.drained(0, 301.0)
    ends.started(0, 900, 0.0)
    ended(ends, 0, 500, 302.0)  # of long ago
    assert not ends.drained(0, 303.0)


def test_marks_of_transactions_are_no_records() -> None:
    ends = Ends()
    ends.started(0, 7, 0.0)
    came(ends, 0, 8, 99.0)
    ended(ends, 0, 10, 1.0)
    assert ends.drained(0, 1.0)
    ends.started(0, 7, 0.0)
    ended(ends, 0, 90, 1.0)  # many, and nothing else
    assert not ends.drained(0, 31.0)
    assert ends.drained(0, 31.1)
    ends.forget(0)
    assert not ends.drained(0, 100.0)


def test_a_broker_that_forgot_for_a_moment_how_much_it_has_is_not_believed() -> None:
    ends = Ends()
    ends.started(0, None, 0.0)
    came(ends, 0, 419, 99.0)
    ends.told(0, 500)
    ends.told(0, 400)  # just after it started again
    ended(ends, 0, 420, 10.0)
    assert not ends.drained(0, 11.0)
    came(ends, 0, 498, 99.0)  # it goes on
    assert not ends.drained(0, 100.0)
    ended(ends, 0, 499, 100.0)
    assert not ends.drained(0, 130.0)
    assert ends.drained(0, 130.1)  # a topic that lost its newest records
    came(ends, 0, 499, 99.0)
    ended(ends, 0, 500, 131.0)
    assert ends.drained(0, 131.0)
    ends.started(0, 7, 0.0)  # what the broker has outlives that somebody reads it
    ended(ends, 0, 7, 140.0)
    assert not ends.drained(0, 141.0)


def test_a_client_that_goes_on_elsewhere_is_sent_back_once() -> None:
    ends = Ends()
    ends.started(0, 100, 0.0)
    assert not ends.passed(0, 110, 90.0)  # where the topic ended when reading began, and nobody saw what lies before
    assert ends.next(0) == 100
    assert ends.passed(0, 100, 90.0)
    assert ends.passed(0, 110, 90.0)  # asked again, it is the same: the topic has a gap
    ends.started(0, 100, 0.0)
    assert not ends.reached(0, 110, 1.0)
    assert not ends.drained(0, 1.0)
    assert ends.reached(0, 110, 1.0)
    assert ends.drained(0, 1.0)


def test_a_client_may_go_elsewhere_while_it_reads() -> None:
    ends = Ends()
    ends.told(0, 900)
    ends.started(0, 100, 0.0)
    assert ends.passed(0, 100, 0.1)
    assert ends.passed(0, 150, 0.1)  # a topic that has gaps: it was there when reading began
    ends.told(0, 1000)
    assert not ends.passed(0, 950, 0.2)  # what was the end just before the first record came
    assert not ends.reached(0, 1000, 0.6)
    assert not ends.passed(0, 1001, 0.6)  # and nor does what came since
    assert ends.next(0) == 151
    assert all(ends.passed(0, offset, 0.7) for offset in range(151, 1001))
    assert not ends.passed(0, 1003, 0.8)
    assert ends.passed(0, 1003, 0.9)
    assert ends.passed(0, 1005, 5.1)  # marks of transactions
    assert not ends.passed(0, 1100, 5.1)


def test_the_oldest_is_wherever_it_is() -> None:
    ends = Ends()
    ends.started(0, None, 0.0)
    assert ends.passed(0, 5000, 0.1)
    assert not ends.passed(0, 6000, 5.2)


def test_an_end_behind_which_more_came_meanwhile_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ends = Ends()
    ends.started(0, 7, 0.0)
    came(ends, 0, 7, 0.1)
    ends.told(0, 9)
    assert ends.reached(0, 8, 0.2)  # said many times a second where a topic is written to
    assert not ends.drained(0, 0.2)
    assert not caplog.records
    ended(ends, 0, 500, 0.3)
    assert caplog.messages[-1] == "partition 0: an end at 500 is not believed yet: 8 is next, 9 are known"
