"""From raw records to admitted work: contract, quarantine, idempotency, lateness, and the decision an outcome is for."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from flightworthy.decision.line import Line
from flightworthy.decision.work import EVENT, OUTCOME, Arrivals, Pending, Work
from flightworthy.governance.ledger import Ledger, Quarantined
from flightworthy.ground.clock import say
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.contract import Raw, Rejection, RejectionError
from flightworthy.integration.outcomes import Outcome, OutcomeContract


class Admission:
    """Keeps what it takes to admit in order: the newest event time, the next number, and what is in flight."""

    def __init__(self, line: Line, ledger: Ledger) -> None:
        self.line, self.ledger = line, ledger
        self.outcomes = OutcomeContract(line.pilot)
        self.lateness = line.pilot.manifest.events.lateness
        self.decoder = msgspec.json.Decoder(line.record)
        self.watermark = -(2**62)
        self.next_seq = 1
        self.in_flight: dict[str, Pending] = {}

    def admit(self, arrivals: Arrivals) -> Work:
        """Read, check and number every record. Each gets a result: pending, an outcome, or a rejection."""
        work = Work(arrivals, [None] * len(arrivals.raws))
        kinds = arrivals.kinds
        at: list[int] = []
        events: list[Any] = []
        truths: list[tuple[int, Outcome]] = []
        read, read_outcome = self.line.contract.read, self.outcomes.read
        table = self.line.contract.read_table(arrivals.raws) if kinds is None else None
        if table is not None:
            at, events = list(range(len(table))), table
        for i, raw in enumerate(arrivals.raws if table is None else ()):
            try:
                if kinds is None or kinds[i] == EVENT:
                    events.append(read(raw))
                    at.append(i)
                else:
                    truths.append((i, read_outcome(raw)))
            except RejectionError as error:
                self._reject(work, i, error.rejection)
        self._check(work, at, events)
        ids = list(map(self.line.contract.event_id, events))
        self._number(work, at, events, ids, truths, self._known(ids, truths))
        work.quarantined.sort(key=lambda held: held.position)
        return work

    def release(self, work: Work) -> None:
        """Forget what is now durable: from here on the ledger answers for it."""
        for pending in work.pending:
            self.in_flight.pop(pending.id, None)

    def quarantined(self, arrivals: Arrivals, index: int, rejection: Rejection) -> Quarantined:
        """The quarantine row of a record."""
        return Quarantined(arrivals.source, arrivals.position + index, arrivals.arrived, rejection.reason,
                           rejection.field, rejection.message[:500], bytes_of(arrivals.raws[index]))

    def _reject(self, work: Work, index: int, rejection: Rejection) -> None:
        work.results[index] = rejection
        work.quarantined.append(self.quarantined(work.arrivals, index, rejection))

    def _known(self, names: list[str], truths: list[tuple[int, Outcome]]) -> dict[str, Pending | int]:
        """Earlier decisions for these ids: in flight, or the number of their ledger entry.

        What is in flight is noted before the ledger is asked: it may be committed and released in between.
        """
        ids = names + [truth.event_id for _, truth in truths]
        known: dict[str, Pending | int] = {}
        if self.in_flight:
            known.update((name, flying) for name in ids if (flying := self.in_flight.get(name)) is not None)
        known.update(self.ledger.find([name for name in ids if name not in known]))
        return known

    def _earlier(self, name: str, known: dict[str, Pending | int]) -> Pending | None:
        found = known.get(name)
        if found is None:
            return self.in_flight.get(name)  # from this very batch
        return found if isinstance(found, Pending) else self._stored(found)

    def _check(self, work: Work, at: list[int], events: list[Any]) -> None:
        """Turn all events into numbers; reject what only numbers can tell."""
        if not events:
            return
        columns = self.line.columns
        work.times = columns.times(events)
        work.numbers = columns.numbers(events, work.times)
        arrived = np.full(len(events), work.arrivals.arrived, np.int64)
        for row, rejection in columns.suspicious(work.numbers, work.times, arrived).items():
            self._reject(work, at[row], rejection)

    def _number(self, work: Work, at: list[int], events: list[Any], ids: list[str],
                truths: list[tuple[int, Outcome]], known: dict[str, Pending | int]) -> None:
        """Walk in order of arrival; give numbers to new events and to outcomes."""
        kinds: list[int] = []
        kept: list[int] = []
        waiting = iter([*truths, (len(work.results), None)])
        place, truth = next(waiting)
        for row, (i, event, name, time) in enumerate(zip(at, events, ids, work.times.tolist(), strict=True)):
            while place < i and truth is not None:
                self._outcome(work, place, truth, known, kinds)
                place, truth = next(waiting)
            if work.results[i] is None and self._event(work, i, event, name, time, known):
                kinds.append(EVENT)
                kept.append(row)
        while truth is not None:
            self._outcome(work, place, truth, known, kinds)
            place, truth = next(waiting)
        work.kinds, work.kept = np.array(kinds, np.int64), np.array(kept, np.int64)

    def _event(self, work: Work, i: int, event: Any, name: str, time: int, known: dict[str, Pending | int]) -> bool:
        """Whether the event is new and in time; then it has its number."""
        earlier = self._earlier(name, known) if known or name in self.in_flight else None
        if earlier is not None:
            work.results[i] = earlier
            if earlier.event != event:
                conflict = Rejection("id_conflict", self.line.contract.id_field,
                                     "another event with this id was decided; its decision is the answer")
                work.quarantined.append(self.quarantined(work.arrivals, i, conflict))
            return False
        if time < self.watermark - self.lateness:
            behind = say((self.watermark - time) // 1_000_000 * 1_000_000)
            self._reject(work, i, Rejection("late", self.line.contract.time_field,
                                            f"{behind} behind the newest event; at most {say(self.lateness)} is allowed"))
            return False
        self.watermark = max(self.watermark, time)
        pending = Pending(self.next_seq, event, time, name)
        self.next_seq += 1
        self.in_flight[name] = pending
        work.results[i] = pending
        work.pending.append(pending)
        return True

    def _outcome(self, work: Work, i: int, truth: Outcome, known: dict[str, Pending | int], kinds: list[int]) -> None:
        name = truth.event_id
        decided = self._earlier(name, known)
        if decided is None:
            self._reject(work, i, Rejection("no_decision", self.line.contract.id_field,
                                            f"no decision was made for the event '{name}' yet; retry when it was"))
            return
        work.outcomes.append((self.next_seq, truth, decided))
        work.results[i] = (self.next_seq, truth)
        self.next_seq += 1
        kinds.append(OUTCOME)

    def _stored(self, seq: int) -> Pending:
        entry = self.ledger.read([seq])[0]
        try:
            record = self.decoder.decode(entry.content)
        except msgspec.MsgspecError as error:
            raise LedgerError("a stored decision does not fit today's contract", where=f"entry {seq}",
                              found=str(error), next_step="use the manifest it was decided with") from error
        pending = Pending(seq, record.event, int(self.line.columns.times([record.event])[0]), record.id)
        pending.record = record
        return pending


def bytes_of(raw: Raw) -> bytes:
    """The raw bytes of a record, for quarantine; rows of tables are written as JSON."""
    return raw if isinstance(raw, bytes) else msgspec.json.encode(dict(raw), enc_hook=str)
