"""What the bench of latencies makes of the instants it is given."""

import numpy as np
from benchmarks.kafka.live import decision_id, event_id, grows, latencies


def test_a_queue_that_grows_is_seen_long_before_it_is_a_second_long() -> None:
    seconds = np.arange(30_000) / 3_000
    assert grows((20 + 30 * seconds).astype(np.int64)) == 200  # 3% more than is kept up with: 30 ms more behind each second


def test_what_comes_and_goes_is_no_queue_that_grows() -> None:
    took = np.full(30_000, 20)
    took[15_000:18_000] = 900
    took[27_000:] = 900
    assert grows(took) == 0


def test_of_a_hundred_payments_one_took_longer_than_p99() -> None:
    took = np.arange(1_000)[::-1] + 1
    assert latencies(took) == {"latencies": 1_000, "p50_ms": 501, "p99_ms": 991, "p999_ms": 1_000}


def test_ids_are_read_from_payments_and_from_decisions_as_they_are_written() -> None:
    assert event_id(b'{"transaction_id":"p17","card":"c1"}') == b"p17"
    assert decision_id(b'{"id":"p17","action":"approve"}') == b"p17"
