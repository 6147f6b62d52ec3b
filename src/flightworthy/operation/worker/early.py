"""Outcomes that came before their events wait in quarantine, and are taken in when the event has been decided."""

from __future__ import annotations

from itertools import islice

from flightworthy.decision.engine import Engine
from flightworthy.decision.held import raw_of, retry
from flightworthy.integration.contract import RejectionError

REASON = "no_decision"
_PAGE, _LOOK, _MOST = 500, 1000, 100_000


class Early:
    """Of one partition. Where too many wait, the newest stay in quarantine for a person."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._after = engine, 0
        self._waiting: dict[int, str] = {}  # quarantine id → event id

    def look(self) -> list[int]:
        """Quarantined outcomes whose events are there now. Raises `LedgerError`."""
        self._gather()
        some = dict(islice(self._waiting.items(), _LOOK))
        for number in some:  # those of the next look come first
            self._waiting[number] = self._waiting.pop(number)
        known = self._engine.ledger.find(list(set(some.values()))) if some else {}
        return [number for number, event in some.items() if event in known]

    def take(self, numbers: list[int]) -> int:
        """Send them through the engine again, with no batch under way; how many were taken in."""
        done = 0
        for number in numbers:
            del self._waiting[number]
            done += retry(self._engine, number)[0]
        return done

    def _gather(self) -> None:
        engine = self._engine
        while held := engine.ledger.quarantine("held", self._after, _PAGE):
            self._after = held[-1].id
            for one in held:
                if one.reason == REASON and len(self._waiting) < _MOST:
                    try:
                        self._waiting[one.id] = engine.admission.outcomes.read(raw_of(one, engine.vault)).event_id
                    except RejectionError:  # by today's contract it is none
                        continue
