"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(path: Path, part: Path) -> Iterator[BinaryIO]:
    """A file to write to, named ``part`` beside ``path`` meanwhile; when the block ends, it is durable under its name. Where the
    block raises, ``path`` is what it was. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    _renamed(part, path)


def kept(made: Path, path: Path) -> None:
    """Make a file that somebody else wrote durable, and move it to ``path`` on the same disk. Raises `OSError`."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    _renamed(made, path)


def _renamed(part: Path, path: Path) -> None:
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
