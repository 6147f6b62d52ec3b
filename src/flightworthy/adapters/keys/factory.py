"""Secrets in files (``file:///keys``, made on first use) and in the environment (``env:``, only read)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from flightworthy.ground.errors import AdapterError

_OTHERS = 0o077  # rights of anyone but the owner


class Files:
    """One file for each secret, which nobody but its owner can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> str | None:
        path = self._folder / name
        try:
            if path.stat().st_mode & _OTHERS:
                raise AdapterError("others can read this secret", where=str(path), found=oct(path.stat().st_mode & 0o777),
                                   expected="0o600", next_step=f"run: chmod 600 {path}; renew it if others may have read it")
            return path.read_text().strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise AdapterError(f"cannot read the secret: {error}", where=str(path)) from error

    def put(self, name: str, value: str, new: bool = False) -> None:
        path, beside = self._folder / name, self._folder / f".{name}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, value.encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            if new:
                with contextlib.suppress(FileExistsError):  # another process was first
                    path.hardlink_to(beside)
                beside.unlink()
            else:
                beside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise AdapterError(f"cannot keep the secret: {error}", where=str(path)) from error


class Environment:
    """``FLIGHTWORTHY_LOG_KEY`` for ``log-key``."""

    def get(self, name: str) -> str | None:
        return os.environ.get(_variable(name))

    def put(self, name: str, value: str, new: bool = False) -> None:
        raise AdapterError("secrets of the environment are only read", where=f"env:{name}", expected=_variable(name),
                           next_step=f"set {_variable(name)} where the process is started")


def _variable(name: str) -> str:
    return "FLIGHTWORTHY_" + name.upper().replace("-", "_")


def open_files(url: str, base: Path | None = None) -> Files:
    """``file:///keys`` is relative to ``base``, ``file:////etc/keys`` absolute."""
    return Files((base or Path()) / url.removeprefix("file:///"))


def open_environment(url: str, base: Path | None = None) -> Environment:
    """``env:``"""
    return Environment()
