"""A governed service for proofs: a pilot of its own with a declared way to fail, in processes of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.service.callers import ask, wait_until
from benchmarks.service.prepare import PILOT, prepared
from benchmarks.service.processes import free_port
from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import ACT, DECISION

DEADLINE = 0.3
SERVICE = "service: {deadline: 300ms, model_timeout: 60ms, ledger_down: spill}\n"


class Running:
    """``flightworthy serve`` on a fresh ledger with history. ``adapters``: a line of the manifest."""

    def __init__(self, folder: Path, adapters: str = "", service: str = SERVICE) -> None:
        self.pilot, self.var, self.port = folder / "pilot", folder / "var", free_port()
        self.tail = f"{service}{adapters}"
        self.pilot.mkdir(parents=True, exist_ok=True)
        prepared().fresh_var(self.var)
        self.write()
        self.start()

    def write(self, change: tuple[str, str] = ("", "")) -> None:
        """The manifest: the benchmark's, with a safe default."""
        text = (PILOT / "pilot.yaml").read_text().replace(*change, 1)
        text = text.replace("  baseline: [", "  fallback: [previous, baseline, {then: review}]\n  baseline: [", 1)
        part = self.pilot / "pilot.part"
        part.write_text(f"{text}\n{self.tail}")
        part.replace(self.pilot / "pilot.yaml")

    def start(self) -> None:
        """Start, and wait until it is ready."""
        with (self.var / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flightworthy", "serve", str(self.pilot), "--var", str(self.var), "--port", str(self.port),
                 "--notice", "300ms"], stdout=log, stderr=log)
        wait_until(self.ready, 120)

    def ready(self) -> bool:
        """Whether it would decide correctly now. Raises `RuntimeError` when it ended."""
        if self.process.poll() is not None:
            raise RuntimeError((self.var / "service.log").read_text()[-2000:])
        return ask(self.port, "GET", "/health/ready")[0] == 200

    def faults(self, words: str) -> None:
        """Turn faults on, or with nothing off."""
        for folder in (self.var, self.pilot):
            (folder / "faults").write_text(words)

    def shard(self) -> int:
        """The process of the shard."""
        return int(ask(self.port, "GET", "/v1/shards")[1][0]["state"]["pid"])

    def drained(self) -> bool:
        """Whether everything that was spilled is in the ledger."""
        return "flightworthy_spill_records 0.0" in ask(self.port, "GET", "/metrics")[1]

    def stop(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def logged(self) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, str]]]:
        """From the ledger: event → its decisions; event → what its caller was told where that is another thing."""
        ledger = open_ledger("sqlite:///ledger.db", self.var, read_only=True)
        decided: dict[str, list[dict[str, Any]]] = {}
        answered: dict[str, dict[str, str]] = {}
        for entry in ledger.scan(1, (DECISION, ACT)):
            record = msgspec.msgpack.decode(entry.content)
            if entry.kind == DECISION:
                decided.setdefault(record["id"], []).append(record)
            elif record["id"].startswith("answered:"):
                answered[record["id"].removeprefix("answered:")] = record["said"]
        ledger.close()
        return decided, answered
