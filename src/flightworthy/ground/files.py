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
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
