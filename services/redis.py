"""A real Redis (or Valkey) on a private port and folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from services.processes import Process, answers, free_port


def redis_program() -> str | None:
    """The server's program, where one is installed."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Redis:
    """A server of its own; keeps nothing on disk unless told otherwise."""

    def __init__(self, folder: Path, settings: tuple[str, ...] = (), port: int = 0) -> None:
        program = redis_program()
        assert program is not None
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.port = folder, port or free_port()
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *settings]
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        self._process = Process(self._command, self._folder / "log")
        if not answers(self.port, 10):
            raise RuntimeError(f"redis does not answer; see {self._folder}/log")

    def url(self, path: str = "") -> str:
        """For a manifest."""
        return f"redis://127.0.0.1:{self.port}/{path}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """As if its machine had gone."""
        self._process.kill()

    def stop(self) -> None:
        """In order."""
        self._process.stop()
