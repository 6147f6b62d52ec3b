"""When all of a partition is here."""

from __future__ import annotations

from flightworthy.adapters.kafka.ends import Ends


def test_an_end_counts_that_follows_what_was_read() -> None:
    ends = Ends()
    ends.started(0, 7)
    ends.reached(0, 7, 1.0)  # nothing since
    assert ends.drained(0, 1.0)
    ends.passed(0, 7)
    assert not ends.drained(0, 100.0)
    ends.reached(0, 8, 1.0)
    assert ends.drained(0, 1.0)
    ends.started(1, None)
    ends.reached(1, 0, 1.0)  # an empty topic
    assert ends.drained(1, 1.0)


def test_an_end_that_was_said_of_another_place_does_not_count() -> None:
    ends = Ends()
    ends.started(0, 7)
    ends.reached(0, 500, 1.0)  # of where the client was before: records are still to come
    assert not ends.drained(0, 30.0)
    ends.passed(0, 7)
    assert not ends.drained(0, 300.0)
    ends.reached(0, 500, 300.0)  # again, between two of them
    assert not ends.drained(0, 300.1)
    ends.passed(0, 499)
    ends.reached(0, 500, 301.0)
    assert ends.drained(0, 301.0)
    ends.started(0, 900)
    ends.reached(0, 500, 302.0)  # of long ago
    assert not ends.drained(0, 303.0)


def test_marks_of_transactions_are_no_records() -> None:
    ends = Ends()
    ends.started(0, 7)
    ends.passed(0, 8)
    ends.reached(0, 10, 1.0)
    assert ends.drained(0, 1.0)
    ends.started(0, 7)
    ends.reached(0, 90, 1.0)  # many, and nothing else
    assert not ends.drained(0, 31.0)
    assert ends.drained(0, 31.1)
    ends.forget(0)
    assert not ends.drained(0, 100.0)


def test_a_broker_that_forgot_for_a_moment_how_much_it_has_is_not_believed() -> None:
    ends = Ends()
    ends.started(0, None)
    ends.passed(0, 419)
    ends.told(0, 500)
    ends.told(0, 400)  # just after it started again
    ends.reached(0, 420, 10.0)
    assert not ends.drained(0, 11.0)
    ends.passed(0, 498)  # it goes on
    assert not ends.drained(0, 100.0)
    ends.reached(0, 499, 100.0)
    assert not ends.drained(0, 130.0)
    assert ends.drained(0, 130.1)  # a topic that lost its newest records
    ends.passed(0, 499)
    ends.reached(0, 500, 131.0)
    assert ends.drained(0, 131.0)
    ends.started(0, 7)  # what the broker has outlives that somebody reads it
    ends.reached(0, 7, 140.0)
    assert not ends.drained(0, 141.0)
