"""Secrets: keys by name, kept outside of manifests, ledgers and logs."""

from __future__ import annotations

from typing import Protocol


class Secrets(Protocol):
    """A store of secrets. A name is lower-case words with dashes between. Every method raises `AdapterError`."""

    def get(self, name: str) -> str | None:
        """The secret, or None where there is none."""
        ...

    def put(self, name: str, value: str, new: bool = False) -> None:
        """Keep a secret, if it is to be ``new`` unless there is one; raises where this store is only read."""
        ...
