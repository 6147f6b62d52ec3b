"""The garbage collector, kept away from requests."""

from __future__ import annotations

import gc


def seldom_collect() -> None:
    """What is there now stays and is not looked at again; the oldest generation is not collected by itself any more: that took
    60 ms at a time, in the midst of requests. Young objects still are, and what answers requests makes no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1_000_000)
