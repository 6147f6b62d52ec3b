"""A real PostgreSQL on a private port and folder, ended by whoever started it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from services.processes import free_port, lives

_PASSWORD = "of-this-run-only"  # noqa: S105


def postgres_programs() -> Path | None:
    """The folder with PostgreSQL's programs, the newest where there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[4]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgres:
    """A server of its own. As root it runs as the user postgres, which it refuses to be itself."""

    def __init__(self, folder: Path, settings: str = "", port: int = 0) -> None:
        programs = postgres_programs()
        assert programs is not None
        self.folder, self._programs = folder / "data", programs
        self.port = port or free_port()
        self._as = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.getuid() == 0 else []
        self.folder.mkdir(parents=True)
        if self._as:
            os.chown(self.folder, pwd.getpwnam("postgres").pw_uid, -1)
            shut = [p for p in folder.resolve().parents if p.owner() == "root" and p.stat().st_mode & 0o001 == 0]
            for above in [*shut, folder]:
                above.chmod(above.stat().st_mode | 0o011)  # may be gone through, not looked into
        words = folder / "password"
        words.write_text(_PASSWORD)
        words.chmod(0o644)
        self._call("initdb", "-D", self.folder, "-U", "flightworthy", "-A", "scram-sha-256", f"--pwfile={words}", "-E", "UTF8",
                   "--locale=C", "--no-sync")
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n{settings}\n")
        self.start()

    password = _PASSWORD

    def url(self, schema: str = "flightworthy") -> str:
        """For a manifest; with the password, which belongs into PGPASSWORD where it is a secret."""
        return f"postgresql://flightworthy:{_PASSWORD}@127.0.0.1:{self.port}/postgres?schema={schema}"

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Returns when it answers."""
        self._call("pg_ctl", "-D", self.folder, "-l", self.folder / "log", "-w", "-s", "start")

    def stop(self, how: str = "fast") -> None:
        """Returns when it is down."""
        self._call("pg_ctl", "-D", self.folder, "-m", how, "-w", "-s", "stop")

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its processes: as if power were lost, but for the disk's own cache."""
        main = self.pid
        children = subprocess.run(["pgrep", "-P", str(main)], check=False, capture_output=True, text=True).stdout.split()
        for pid in [main, *map(int, children)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while any(lives(pid) for pid in [main, *map(int, children)]):
            time.sleep(0.01)
        (self.folder / "postmaster.pid").unlink()  # else a zombie that nobody reaps looks like a server that runs

    def dump(self, schema: str) -> str:
        """The schema's definition, in SQL."""
        made = self._call("pg_dump", "-s", "-n", schema, "-h", "127.0.0.1", "-p", self.port, "-U", "flightworthy", "postgres")
        return made.stdout

    def _call(self, program: str, *args: object) -> subprocess.CompletedProcess[str]:
        out = subprocess.PIPE if program == "pg_dump" else subprocess.DEVNULL  # a server would keep a pipe open
        done = subprocess.run([*self._as, str(self._programs / program), *map(str, args)], check=False, text=True, stdout=out,
                              stderr=subprocess.DEVNULL, timeout=60,
                              env={"PATH": os.environ["PATH"], "PGPASSWORD": _PASSWORD, "LC_ALL": "C"})
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}; see {self.folder}/log")
        return done
