"""Ray Serve with request batching: one replica, a plain Starlette handler, no cost of typed ingress."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

# Before Ray is imported, which reads where its proxy's files go.
FILES = os.environ["TMPDIR"]
for name, file in (("CONFIG_FILE_LOC", "haproxy.cfg"), ("SOCKET_PATH", "admin.sock"), ("METRICS_SOCKET_PATH", "metrics.sock"),
                   ("SERVER_STATE_BASE", ""), ("SERVER_STATE_FILE", "server-state")):
    os.environ[f"RAY_SERVE_HAPROXY_{name}"] = os.path.join(FILES, "proxy", file).rstrip("/")  # noqa: PTH118

import ray  # noqa: E402
from ray import serve  # noqa: E402
from scorer import Scorer, arguments  # noqa: E402
from starlette.requests import Request  # noqa: E402


@serve.deployment(num_replicas=1, max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.5})
class Scores:
    """Events in, scores out."""

    def __init__(self, folder: str) -> None:
        self.scorer = Scorer(folder)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.0)
    async def score(self, events: list[dict[str, Any]]) -> list[float]:
        return self.scorer.events(events)

    async def __call__(self, request: Request) -> dict[str, Any]:
        return {"score": await self.score(json.loads(await request.body()))}


if __name__ == "__main__":
    folder, port = arguments()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000, _temp_dir=FILES,
             _node_ip_address="127.0.0.1")
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
    serve.run(Scores.bind(folder), route_prefix="/score")  # type: ignore[attr-defined]
    signal.pause()  # Ray's own handler of SIGTERM takes the cluster down
