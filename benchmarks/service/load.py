"""One open-loop measurement: a schedule played by a generator process on its own core, and what its latencies say."""

from __future__ import annotations

import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.service.envs import PeerError
from benchmarks.service.generator import LOST, Plan
from benchmarks.service.processes import LOAD_CORE

CONNECTIONS = 128
WARM_SECONDS = 1.0


@dataclass(frozen=True)
class Played:
    """``latency`` in nanoseconds by request (negative: no good answer), ``due`` from the start, ``about`` the generator."""

    latency: np.ndarray
    due: np.ndarray
    about: dict[str, Any]

    def quantiles(self, chosen: np.ndarray | None = None) -> dict[str, float | None]:
        """Milliseconds; exact order statistics over the answered requests, all or the ``chosen``; None without any."""
        good = self.latency[self.latency >= 0] if chosen is None else self.latency[chosen & (self.latency >= 0)]
        if not len(good):
            return dict.fromkeys(("p50_ms", "p99_ms", "p999_ms", "max_ms"))
        p50, p99, p999 = np.percentile(good, [50, 99, 99.9], method="higher") / 1e6
        return {"p50_ms": float(p50), "p99_ms": float(p99), "p999_ms": float(p999), "max_ms": float(good.max() / 1e6)}

    @property
    def bad(self) -> int:
        """Requests without a good answer."""
        return int((self.latency < 0).sum())


class Player:
    """A generator process that carries out one plan."""

    def __init__(self, port: int, templates: Path, due: np.ndarray, folder: Path, *, connections: int = CONNECTIONS,
                 epoch: int = 0, speed: float = 1.0, drain: float = 10.0) -> None:
        name = secrets.token_hex(4)
        self.due, self.schedule, self.latencies = due, folder / f"{name}.due.npy", folder / f"{name}.npy"
        np.save(self.schedule, due, allow_pickle=False)
        plan = Plan(port, str(templates), str(self.schedule), name, str(self.latencies), connections, epoch, speed, drain)
        path = folder / f"{name}.json"
        path.write_bytes(msgspec.json.encode(plan))
        self.limit = due[-1] / 1e9 + drain + 60
        self.process = subprocess.Popen(["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benchmarks.service.generator",
                                         str(path)], stdout=subprocess.PIPE, text=True)

    def result(self) -> Played:
        """Wait for the end. Raises `PeerError`."""
        try:
            out, _ = self.process.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired as error:
            raise PeerError("the generator did not end in time") from error
        finally:
            self.close()
        if self.process.returncode != 0:
            raise PeerError(f"the generator ended with {self.process.returncode}")
        latency = np.load(self.latencies, allow_pickle=False)
        for path in (self.schedule, self.latencies):
            path.unlink()
        return Played(latency, self.due, msgspec.json.decode(out))

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def play(port: int, templates: Path, due: np.ndarray, folder: Path) -> Played:
    """Play a schedule from its start to its end."""
    player = Player(port, templates, due, folder)
    try:
        return player.result()
    finally:
        player.close()


def steady(played: Played) -> dict[str, Any]:
    """Figures of a run at one rate. The first second, when caches and connections are new, is left out of the quantiles."""
    later = played.due >= WARM_SECONDS * 1e9
    span = float(played.due[-1] - played.due[0]) / 1e9 or 1.0
    about = played.about
    limit = about["generator_cpu_share"] > 0.9 or about["generator_lag_p99_ms"] > 1.0
    return {"rps": len(played.due) / span, **played.quantiles(later if later.any() else None), "errors": played.bad,
            "lost": int((played.latency == LOST).sum()), "from_backlog": about["from_backlog"],
            "generator_cpu_share": about["generator_cpu_share"], "generator_lag_p50_ms": about["generator_lag_p50_ms"],
            "generator_lag_p99_ms": about["generator_lag_p99_ms"], "generator_was_the_limit": limit}
