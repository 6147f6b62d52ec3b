"""One cached virtual environment for each peer, named after its requirements."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(".cache/bench")
PEERS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 1200


class PeerError(Exception):
    """A peer cannot be installed, started or trusted; the message says why."""


def environment(name: str, peers: Path = PEERS) -> tuple[Path, dict[str, str]]:
    """The interpreter of a peer's environment and the versions in it; made on first use. Raises `PeerError`."""
    wanted = peers / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = (CACHE / f"{name}-{digest}").absolute()
    ready = folder / "versions.json"
    if not ready.exists():
        _make(folder, wanted)
    versions: dict[str, str] = json.loads(ready.read_text())
    return folder / "bin" / "python", versions


def locked(name: str, lock: Path) -> tuple[Path, dict[str, str]]:
    """The interpreter of an environment with just what a lock file says, and ourselves as we are now. Raises `PeerError`."""
    folder = (CACHE / f"{name}-{hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]}").absolute()
    python, ready = folder / "bin" / "python", folder / "ready"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run([str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "venv", str(folder)])
        _run([*pip, "--require-hashes", "-r", str(lock)])
        ready.touch()
    with tempfile.TemporaryDirectory() as place:
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation",
              "--wheel-dir", place, "."])
        _run([*pip, "--force-reinstall", *map(str, Path(place).glob("*.whl"))])
    found = json.loads(_run([str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]))
    return python, {p["name"].lower(): p["version"] for p in found if p["name"] in ("apache-flink", "numpy", "numba", "lightgbm")}


def _make(folder: Path, wanted: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    _run([str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "venv", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)])
    found = json.loads(_run([str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]))
    asked = {line.split(">")[0].split("[")[0].strip().lower() for line in wanted.read_text().splitlines() if line.strip()}
    versions = {p["name"].lower(): p["version"] for p in found if p["name"].lower() in asked}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{' '.join(command[1:4])}: {error}") from error
    if done.returncode != 0:
        raise PeerError(f"{' '.join(command[1:4])} failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
