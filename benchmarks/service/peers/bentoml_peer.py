"""BentoML with adaptive batching; a request is a batch of one event."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from scorer import Scorer


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 512}, metrics={"enabled": False},
                 logging={"access": {"enabled": False}})
class Scores:
    """Events in, scores out."""

    def __init__(self) -> None:
        self.scorer = Scorer(os.environ["BENCH_FOLDER"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000, route="/score")
    async def score(self, events: list[dict[str, Any]]) -> list[float]:
        return self.scorer.events(events)
