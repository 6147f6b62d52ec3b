"""Named bytes in a folder, such as one that several machines mount."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from flightworthy.ground.errors import AdapterError
from flightworthy.ground.files import whole


class FileShelf:
    """Each name is a file."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.where = folder, str(folder)

    def get(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._wrong(error) from error

    def put(self, name: str, content: bytes) -> None:
        path = self._folder / name
        try:
            with whole(path, path.with_name(f".{path.name}.{os.getpid()}")) as file:
                file.write(content)
        except OSError as error:
            raise self._wrong(error) from error

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name).unlink()

    def _wrong(self, error: OSError) -> AdapterError:
        return AdapterError(f"snapshots cannot be kept: {error.strerror}", where=self.where, retryable=True,
                            next_step="see whether the folder is mounted, and may be written")
