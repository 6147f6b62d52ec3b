"""A real Apache Flink: a job manager and task managers in processes of their own, from the Python package that brings it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from services.processes import Process, answers, free_port

_CONFIG = """jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.process.size: 900m
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.memory.process.size: 1600m
taskmanager.numberOfTaskSlots: {slots}
heartbeat.interval: 1000
heartbeat.timeout: 5000
python.executable: {python}
env.java.opts.all: --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED
"""


class Flink:
    """A cluster of its own. ``python``: the interpreter of an environment with apache-flink."""

    def __init__(self, folder: Path, python: Path, slots: int = 4) -> None:
        self._folder, self._home = folder, next(python.parent.parent.glob("lib/python3*/site-packages/pyflink"))
        self.port = free_port()
        (folder / "conf").mkdir(parents=True)
        for file in (self._home / "conf").iterdir():
            if file.suffix in (".properties", ".xml"):
                shutil.copy(file, folder / "conf")
        (folder / "conf" / "config.yaml").write_text(
            _CONFIG.format(rpc=free_port(), rest=self.port, slots=slots, python=python))
        self._environment = [f"FLINK_HOME={self._home}", f"FLINK_CONF_DIR={folder / 'conf'}", f"FLINK_LOG_DIR={folder}",
                             f"PATH={python.parent}:{os.environ['PATH']}"]
        self._managers: list[Process] = []
        self._job_manager = self._started("jobmanager")
        if not answers(self.port, 60):
            raise RuntimeError(f"flink does not answer; see {folder}")
        self.add()

    def _started(self, what: str) -> Process:
        command = ["env", *self._environment, "bash", str(self._home / "bin" / f"{what}.sh"), "start-foreground"]
        return Process(command, self._folder / f"{what}.log")

    @property
    def url(self) -> str:
        """For ``--engine``."""
        return f"flink://127.0.0.1:{self.port}"

    def add(self) -> None:
        """Another task manager."""
        self._managers.append(self._started("taskmanager"))

    def kill(self) -> None:
        """The oldest task manager, as if its machine had gone."""
        self._managers.pop(0).kill()

    def stop(self) -> None:
        """In order."""
        for process in [*self._managers, self._job_manager]:
            process.stop()
