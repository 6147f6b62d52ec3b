"""Who agreed to be decided about, and for what: the newest word of each person counts."""

from __future__ import annotations

from collections.abc import Sequence

from flightworthy.decision.line import Line
from flightworthy.governance.ledger import ACT, Ledger

NO_CONSENT = "no-consent"
_KEPT = 200_000


class Consents:
    """Of one ledger, remembered until told to forget."""

    def __init__(self, line: Line, ledger: Ledger, purpose: str, otherwise: str) -> None:
        self._line, self._ledger, self.purpose = line, ledger, purpose
        self.refuse, self.step = otherwise == "refuse", otherwise
        self._given: dict[str, int] = {}  # pseudonym → entry, 0 without

    @classmethod
    def of(cls, line: Line, ledger: Ledger) -> Consents | None:
        """None where the manifest does not ask for consent."""
        spec = line.pilot.manifest.privacy
        return None if spec is None or spec.without_consent is None else cls(line, ledger, spec.purpose, spec.without_consent)

    def given(self, words: Sequence[str]) -> list[int]:
        """The entries that gave these people's consent; 0 where it was never given, or withdrawn. Raises `LedgerError`."""
        missing = {word for word in words if word not in self._given}
        if missing:
            self._look_up(sorted(missing))
        found = [self._given[word] for word in words]
        while len(self._given) > _KEPT:
            del self._given[next(iter(self._given))]
        return found

    def _look_up(self, words: list[str]) -> None:
        newest = self._ledger.newest(ACT, [consent_of(self.purpose, word) for word in words])
        acts = {entry.key: entry for entry in self._ledger.read(list(newest.values()))}
        for word in words:
            entry = acts.get(consent_of(self.purpose, word))
            given = entry is not None and self._line.records.read(entry).said["consent"] == "given"
            self._given[word] = entry.seq if entry is not None and given else 0

    def forget(self) -> None:
        """Ask the ledger again."""
        self._given.clear()


def consent_of(purpose: str, word: str) -> str:
    """The name of the act in which a person, by pseudonym, gives or withdraws consent for a purpose."""
    return f"consent:{purpose}:{word}"
