"""Examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import flightworthy

MODULES = [m.name for m in pkgutil.walk_packages(flightworthy.__path__, "flightworthy.")
           if not m.ispkg and not m.name.endswith("__main__")
           and m.name not in ("flightworthy.operation.flink.operator", "flightworthy.operation.spark.tasks")]  # in environments apart


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module)
    assert found.failed == 0


def test_there_are_examples() -> None:
    found = doctest.DocTestFinder()
    assert sum(len(test.examples) for name in MODULES for test in found.find(importlib.import_module(name))) > 30
