"""Opens ``faulty+URL?faults``: any adapter, failing as its URL says. See `faults`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flightworthy.adapters.faulty.faults import Misfortune
from flightworthy.adapters.faulty.ledger import FaultyLedger
from flightworthy.adapters.faulty.runtime import FaultyPredictor
from flightworthy.ground import registry
from flightworthy.model.runtime import Predictor


def open_ledger(url: str, base: Path | None = None, read_only: bool = False) -> FaultyLedger:
    """``faulty+sqlite:///ledger.db?error=0.01``. Raises `AdapterError` for faults that cannot be read, and what the inner
    adapter raises."""
    inner, words = _split(url)
    ledger = registry.find("ledgers", inner)(inner, base=base, read_only=read_only)
    return FaultyLedger(ledger, Misfortune(words, url, base))


def open_runtime(url: str, content: Mapping[str, Any], folder: Path) -> Predictor:
    """``faulty+inprocess:?hang=0.1:2s``; a fault file's relative path starts at the pilot's folder."""
    inner, words = _split(url)
    predictor: Predictor = registry.find("runtimes", inner)(inner, content=content, folder=folder)
    return FaultyPredictor(predictor, Misfortune(words, url, folder))


def _split(url: str) -> tuple[str, str]:
    inner, _, words = url.removeprefix("faulty+").partition("?")
    return inner, words
