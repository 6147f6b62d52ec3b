"""The servers that are compared, how each is started, and what it answers."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.service.envs import PEERS, environment
from benchmarks.service.prepare import PILOT, Ground
from benchmarks.service.processes import Tree, free_port

READY_SECONDS = 120.0
HERE = Path(sys.executable).parent


@dataclass(frozen=True)
class Place:
    """Where one start of a server happens: its interpreter, port, and a folder that is thrown away afterwards."""

    ground: Ground
    python: Path
    port: int
    work: Path


@dataclass(frozen=True)
class Server:
    """``shape`` is a key of `events.BODIES`; ``score`` reads the score from an answer (None: there is none)."""

    name: str
    command: Callable[[Place], list[str]]
    path: str = "/score"
    ready: str = "/health"
    shape: str = "plain"
    score: Callable[[Any], float] | None = lambda answer: answer["score"]
    requirements: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1e-6


def _echo(listener: str) -> Callable[[Place], list[str]]:
    return lambda p: [sys.executable, "-m", "benchmarks.service.echo", "--port", str(p.port), "--listener", listener]


def _governed(place: Place) -> list[str]:
    var = place.ground.fresh_var(place.work / "var")
    return [str(HERE / "flightworthy"), "serve", str(PILOT), "--var", str(var), "--port", str(place.port)]


def _script(name: str, *more: str) -> Callable[[Place], list[str]]:
    def command(p: Place) -> list[str]:
        return [str(p.python), str(PEERS / name), "--folder", str(p.ground.folder), "--port", str(p.port), *more]
    return command


def _naive(place: Place) -> list[str]:
    return [*_script("fastapi_peer.py")(place), "--audit", str(place.work / "audit.db")]


def _bentoml(place: Place) -> list[str]:
    return [str(place.python), "-m", "bentoml", "serve", "bentoml_peer:Scores", "--working-dir", str(PEERS),
            "--host", "127.0.0.1", "--port", str(place.port)]


def _mlserver(place: Place) -> list[str]:
    """Settings as files, as MLServer wants them; only its HTTP port is asked."""
    folder = place.work / "mlserver"
    folder.mkdir()
    settings = {"host": "127.0.0.1", "http_port": place.port, "grpc_port": free_port(), "metrics_endpoint": None, "debug": False,
                "parallel_workers": 0, "metrics_port": free_port()}
    model = {"name": "score", "implementation": "mlserver_peer.Scores", "max_batch_size": 64, "max_batch_time": 0.001}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(place.python.with_name("mlserver")), "start", str(folder)]


def _first_output(answer: Any) -> float:
    return float(answer["outputs"][0]["data"][0])


# Another server is one more line; `echo` and `governed` have fixed places in the figures.
SERVERS = {server.name: server for server in (
    Server("echo", _echo("own"), ready="/", path="/", score=None),
    Server("echo_asgi", _echo("asgi"), ready="/", path="/", score=None),
    Server("governed", _governed, "/v1/decisions", "/health/ready", score=lambda answer: answer["outputs"]["score"]),
    Server("fastapi", _script("fastapi_peer.py"), requirements="fastapi"),
    Server("naive_governed", _naive, requirements="fastapi"),
    Server("litserve", _script("litserve_peer.py"), requirements="litserve"),
    Server("bentoml", _bentoml, ready="/readyz", shape="wrapped", score=lambda answer: answer[0], requirements="bentoml",
           environ={"BENTOML_DO_NOT_TRACK": "True"}),
    Server("mlserver", _mlserver, "/v2/models/score/infer", "/v2/health/ready", "tensor", _first_output, "mlserver"),
    Server("ray", _script("ray_peer.py"), ready="/-/healthz", requirements="ray",
           environ={"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}),
    Server("triton", _script("triton_peer.py"), "/v2/models/score/infer", "/v2/health/ready", "tensor", _first_output, "triton",
           tolerance=1e-5),
)}
OURS = ("echo", "echo_asgi", "governed", "naive_governed")


@contextmanager
def started(server: Server, ground: Ground, work: Path) -> Iterator[tuple[Tree, int, dict[str, str]]]:
    """A running server on its core, its port, and the versions of what it is made of; it is stopped at the end.

    Raises `PeerError`.
    """
    python, versions = environment(server.requirements) if server.requirements else (Path(sys.executable), {})
    place = Place(ground, python, free_port(), work)
    passing = tempfile.mkdtemp(prefix="bench-")  # a short path, for some peers have sockets there
    environ = {"OMP_NUM_THREADS": "1", "BENCH_FOLDER": str(ground.folder), "BENCH_WORK": str(work), "TMPDIR": passing,
               "PYTHONPATH": str(PEERS), **server.environ}
    tree = Tree(server.command(place), environ, work / "server.log")
    try:
        tree.wait_ready(place.port, server.ready, READY_SECONDS)
        yield tree, place.port, versions
    finally:
        tree.stop()
        shutil.rmtree(passing, ignore_errors=True)
