"""Every error says what, where, what was found, what was expected, what to do next, and whether a retry helps.

The tree, sorted by what the caller can do::

    FlightworthyError
    ├── ManifestError      mend pilot.yaml; carries every problem at once
    ├── DataError          mend the file, its name or its columns
    ├── ModelError         retrain, or point to another artefact
    ├── LedgerError        the store refused; `retryable` says whether the same call may succeed later
    └── AdapterError       no such adapter, or an extra is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class FlightworthyError(Exception):
    """Base of all errors raised on purpose.

    Attributes hold the parts of the message so that a program need not parse text: ``where`` is a path into the
    manifest, a file with line, or a record; ``retryable`` is True only when the same call may succeed unchanged.
    """

    what: str
    where: str = ""
    found: object = None
    expected: str = ""
    next_step: str = ""
    retryable: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.what)

    def __str__(self) -> str:
        parts = [self.what if not self.where else f"{self.where}: {self.what}"]
        if self.found is not None:
            parts.append(f"found {self.found!r}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.next_step:
            parts.append(self.next_step)
        parts.append("a retry may help" if self.retryable else "a retry will not help")
        return "; ".join(parts)


@dataclass(frozen=True)
class Problem:
    """One mistake in a manifest: ``line`` and ``column`` count from 1; 0 means "not in the text" (a missing key)."""

    path: str
    line: int
    column: int
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        detail = "".join(
            f"\n    {label}: {text}"
            for label, text in (("found", self.found), ("expected", self.expected), ("hint", self.hint))
            if text
        )
        return f"{self.line}:{self.column} {self.path or '(top)'}: {self.message}{detail}"


@dataclass(eq=False)
class ManifestError(FlightworthyError):
    """The manifest does not hold; ``problems`` lists every mistake found, in the order of the text."""

    problems: Sequence[Problem] = field(default_factory=tuple)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.where}: {count} problem{'s' if count != 1 else ''}"
        return "\n".join([head, *(f"  {self.where}:{problem}" for problem in self.problems)])


class DataError(FlightworthyError):
    """A file or stream as a whole cannot be read (single bad records go to quarantine instead)."""


class ModelError(FlightworthyError):
    """A model cannot be trained, loaded, or gave an unusable answer."""


class LedgerError(FlightworthyError):
    """The ledger could not make entries durable, or its content contradicts itself."""


class ProofError(FlightworthyError):
    """A proof, a checkpoint or a key does not hold, or cannot be read."""


class AdapterError(FlightworthyError):
    """A URL names no adapter that is installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the closest known name, or the list of them.

    >>> nearest("amuont", ["amount", "card"])
    "did you mean 'amount'?"
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}" if names else ""
