"""Progress of long work, on the terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Advance = Callable[[int], None]


@contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Advance]:
    """A progress bar; the yielded function sets how much is done. Silent when the error stream is not a terminal."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"{title} …\n")
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def counted(items: Iterable[T], advance: Advance, every: int = 1000) -> Iterator[T]:
    """Pass items through, reporting how many went by."""
    done = 0
    for done, item in enumerate(items, 1):
        if done % every == 0:
            advance(done)
        yield item
    advance(done)
