"""Every outside system is a URL; its scheme picks an adapter from entry points, built-in ones like any other's.

An adapter is one callable ``open(url, **options)`` in a `factory` module that imports its driver only when called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from flightworthy.ground.errors import AdapterError, nearest


def find(kind: str, url: str) -> Callable[..., Any]:
    """The adapter of a kind (``ledgers``, ``sources``, ``runtimes``) for a URL: by its scheme, or by what stands before
    the ``+`` in it (``faulty+sqlite:///…`` belongs to ``faulty``).

    Raises `AdapterError` when the scheme is unknown, claimed twice, or its driver is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    points = _claims(f"flightworthy.{kind}", tuple(sys.path))
    if scheme not in points:
        raise AdapterError(f"no adapter for '{scheme}:' among {kind}", found=url, expected="a URL such as file:… or "
                           "sqlite:///…", next_step=nearest(scheme, points))
    if len({point.value for point in points[scheme]}) > 1:
        raise AdapterError(f"two installed packages claim '{scheme}:' among {kind}", found=url,
                           next_step=f"uninstall one of {[p.value for p in points[scheme]]}")
    loaded: Callable[..., Any] = points[scheme][0].load()
    return loaded


@lru_cache(64)
def _claims(group: str, _path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Scheme → who claims it. Kept as long as packages come from the same places: to read the descriptions of all that are
    installed takes twenty milliseconds, and a partition that is taken up asks three times."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        points.setdefault(point.name, []).append(point)
    return points


def missing_extra(package: str, extra: str, url: str) -> AdapterError:
    """The error a factory raises when its driver cannot be imported: it prints the line to install it."""
    return AdapterError(f"'{package}' is not installed", where=url, expected=f"the extra [{extra}]",
                        next_step=f"run: pip install 'flightworthy[{extra}]'")
