"""From raw records to admitted work: contract, quarantine, idempotency, lateness, and the event an outcome is about."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, cast

import msgspec
import numpy as np

from flightworthy.decision.consent import Consents
from flightworthy.decision.line import Line
from flightworthy.decision.record import OutcomeRecord
from flightworthy.decision.work import EVENT, PAST, Arrivals, Earlier, Ints, Repeated, Told, Work
from flightworthy.governance.ledger import OUTCOME, Ledger, Quarantined
from flightworthy.ground.clock import say
from flightworthy.integration.contract import Raw, Rejection, RejectionError
from flightworthy.integration.outcomes import Outcome, OutcomeContract

_log = logging.getLogger("flightworthy.decision")
_TOGETHER = 64  # records of a batch with broken ones that are tried at once
Truths = list[tuple[int, Outcome]]
Known = Mapping[str, Work | int]  # id → the work it is in, or the number of its ledger entry


class Admission:
    """Keeps what it takes to admit in order: the newest event time, the next number, and what is in flight."""

    def __init__(self, line: Line, ledger: Ledger) -> None:
        self.line, self.ledger = line, ledger
        self.consents = Consents.of(line, ledger)
        self.outcomes = OutcomeContract(line.pilot)
        self.lateness = line.pilot.manifest.events.lateness
        self.watermark = -(2**62)
        self.next_seq = 1
        self.in_flight: dict[str, Work] = {}
        self.told: dict[str, tuple[Work, Told]] = {}  # event → its newest outcome in flight
        self._telling = threading.Lock()  # batches are admitted and released by different threads

    def admit(self, arrivals: Arrivals) -> Work:
        """Read, check and number every record. Each gets a result: its row, an earlier event, or a rejection."""
        work = Work(arrivals, [None] * len(arrivals.raws))
        truths = self._read(work)
        self._check(work)
        if self.line.veil is not None:
            work.events, work.people = self.line.veil.at_door(work.events, arrivals.arrived)
        ids = self.line.contract.event_ids(work.events)
        known = self._known(ids + [truth.event_id for _, truth in truths])
        if self.consents is not None and not arrivals.past:
            ids = self._without_consent(work, ids, known)
        self._admit_events(work, ids, known)
        self._admit_outcomes(work, truths, known)
        self.in_flight.update(zip(work.ids, repeat(work)))
        work.quarantined.sort(key=lambda held: held.position)
        return work

    def release(self, work: Work) -> None:
        """Forget what is now durable: from here on the ledger answers for it."""
        for name in work.ids:
            self.in_flight.pop(name, None)
        if self.line.veil is not None:
            self.line.veil.held().settled(work.people)
        with self._telling:
            for told in work.outcomes:
                if self.told.get(told.truth.event_id, (None,))[0] is work:  # else a later work speaks of the same event
                    del self.told[told.truth.event_id]

    def quarantined(self, arrivals: Arrivals, index: int, rejection: Rejection) -> Quarantined:
        """The quarantine row of a record."""
        raw, kind = arrivals.raws[index], EVENT if arrivals.kinds is None else arrivals.kinds[index]
        private = rejection.field and self.line.pilot.stored(rejection.field) != "clear"  # its value may be in the words
        return Quarantined(*arrivals.place(index), arrivals.arrived, rejection.reason, rejection.field,
                           "the value is private" if private else rejection.message[:500], self._covered(bytes_of(raw)),
                           kind=PAST if arrivals.past and kind == EVENT else kind,
                           table=not isinstance(raw, bytes))

    def _covered(self, raw: bytes) -> bytes:
        """Where people are protected, what nobody could read may be about any of them."""
        return raw if self.line.veil is None else self.line.veil.held().cover.put(raw)

    def _reject(self, work: Work, index: int, rejection: Rejection) -> None:
        work.results[index] = rejection
        work.quarantined.append(self.quarantined(work.arrivals, index, rejection))

    def _mistaken(self, work: Work, index: int, error: Exception) -> None:
        _log.error("a record could not be read: %s %d", *work.arrivals.place(index), exc_info=error)
        self._reject(work, index, Rejection("malformed", "", f"it cannot be read: {type(error).__name__}: {error}"))

    def _read(self, work: Work) -> Truths:
        """Set the events that fit the contract; return the outcomes that fit theirs."""
        raws, kinds = work.arrivals.raws, work.arrivals.kinds
        work.at = range(len(raws))
        truths: Truths = []
        if kinds is not None:
            work.at = [i for i, kind in enumerate(kinds) if kind == EVENT]
            for i in [i for i, kind in enumerate(kinds) if kind != EVENT]:
                try:
                    truths.append((i, self.outcomes.read(raws[i])))
                except RejectionError as error:
                    self._reject(work, i, error.rejection)
                except Exception as error:  # noqa: BLE001 - as below
                    self._mistaken(work, i, error)
        events = self.line.contract.read_all(raws if kinds is None else [raws[i] for i in work.at])
        if events is not None:
            work.events = events
            return truths
        places, work.at = work.at, []
        for start in range(0, len(places), _TOGETHER):
            self._read_some(work, places[start : start + _TOGETHER])
        return truths

    def _read_some(self, work: Work, places: Sequence[int]) -> None:
        """A few records of a batch of which one or another is broken."""
        raws, at = work.arrivals.raws, cast(list[int], work.at)
        events = self.line.contract.read_all([raws[i] for i in places])
        if events is not None:
            work.events += events
            at += places
            return
        for i in places:
            try:
                work.events.append(self.line.contract.read(raws[i]))
                at.append(i)
            except RejectionError as error:
                self._reject(work, i, error.rejection)
            except Exception as error:  # noqa: BLE001 - a mistake of ours with one record must not cost those that came with it
                self._mistaken(work, i, error)

    def _check(self, work: Work) -> None:
        """Turn events into numbers; reject what only numbers can tell."""
        if not work.events:
            return
        columns = self.line.columns
        known = work.arrivals.times
        work.times = columns.times(work.events) if known is None or len(known) != len(work.events) else known
        work.numbers = columns.numbers(work.events, work.times)
        bad = columns.suspicious(work.numbers, work.times, work.arrivals.arrived)
        if bad:
            for row, rejection in bad.items():
                self._reject(work, work.at[row], rejection)
            work.keep([row for row in range(len(work.events)) if row not in bad])

    def _known(self, ids: Sequence[str]) -> Known:
        """Where these ids were seen: in flight, or in the ledger.

        What is in flight is noted before the ledger is asked: it may be committed and released in between.
        """
        known: dict[str, Work | int] = {}
        if self.in_flight and not self.in_flight.keys().isdisjoint(ids):
            known.update((name, flying) for name in ids if (flying := self.in_flight.get(name)) is not None)
        known.update(self.ledger.find([name for name in ids if name not in known] if known else ids))
        return known

    def _without_consent(self, work: Work, ids: list[str], known: Known) -> list[str]:
        """Note who consented; where the manifest says so, refuse new events of those who did not. Returns the ids left."""
        assert self.consents is not None  # noqa: S101
        given = self.consents.given([getattr(event, self.line.pilot.subject) for event in work.events])
        if self.consents.refuse and work.arrivals.spilled is None:
            rows = [row for row, entry in enumerate(given) if entry or ids[row] in known]
            if len(rows) < len(ids):
                for row in sorted(set(range(len(ids))) - set(rows)):
                    self._reject(work, work.at[row], Rejection(
                        "no_consent", self.line.pilot.subject, f"no consent was given for the purpose '{self.consents.purpose}'"))
                work.keep(rows)
                ids, given = [ids[row] for row in rows], [given[row] for row in rows]
        work.consents = given
        return ids

    def _admit_events(self, work: Work, ids: list[str], known: Known) -> None:
        """Keep the events that are new and in time. Nearly all batches are regular: then no event is looked at alone."""
        index = dict(zip(ids, range(len(ids)), strict=True))
        late = bool(ids) and work.arrivals.spilled is None and self._some_late(work.times)
        if len(index) < len(ids) or late or (known and not index.keys().isdisjoint(known)):
            rows = self._sift(work, ids, known)
            work.keep(rows)
            work.consents = [work.consents[row] for row in rows] if work.consents else []
            ids = [ids[row] for row in rows]
            index = dict(zip(ids, range(len(ids)), strict=True))
        work.ids, work.index = ids, index
        self.watermark = max(self.watermark, int(work.times.max())) if ids else self.watermark
        if len(ids) == len(work.results):
            work.results = list(range(len(ids)))
        else:
            for row, place in enumerate(work.at):
                work.results[place] = row

    def _some_late(self, times: Ints) -> bool:
        if int(times.min()) >= max(self.watermark, int(times.max())) - self.lateness:
            return False  # none of them, whatever their order
        newest = np.maximum.accumulate(np.concatenate(([self.watermark], times)))
        return bool((times < newest[:-1] - self.lateness).any())

    def _sift(self, work: Work, ids: list[str], known: Known) -> list[int]:
        """The rows to keep, one by one in order of arrival."""
        rows: list[int] = []
        here: dict[str, int] = {}
        watermark = self.watermark
        earlier = self._recalled({name: known[name] for name in ids if name in known} if known else {})
        for row, (place, event, name, time) in enumerate(zip(work.at, work.events, ids, work.times.tolist(), strict=True)):
            if name in here:
                first = here[name]
                self._repeated(work, place, event, Earlier(0, work.events[rows[first]], time, None, work, first))
            elif name in earlier:
                self._repeated(work, place, event, earlier[name])
            elif time < watermark - self.lateness and work.arrivals.spilled is None:  # who was answered stays answered
                behind = say((watermark - time) // 1_000_000 * 1_000_000)
                self._reject(work, place, Rejection(
                    "late", self.line.contract.time_field,
                    f"{behind} behind the newest event; at most {say(self.lateness)} is allowed"))
            else:
                watermark = max(watermark, time)
                here[name] = len(rows)
                rows.append(row)
        return rows

    def _repeated(self, work: Work, place: int, event: Any, earlier: Earlier) -> None:
        """An id seen before: its decision is the answer; one that only was part of the past has none."""
        if earlier.past and not work.arrivals.past:
            self._reject(work, place, Rejection("in_history", self.line.contract.id_field,
                                                "this event is part of the history and was not decided"))
            return
        work.results[place] = earlier
        if earlier.event != event and not getattr(earlier.record, "erased", False):
            conflict = Rejection("id_conflict", self.line.contract.id_field,
                                 "another event with this id was decided; its decision is the answer")
            work.quarantined.append(self.quarantined(work.arrivals, place, conflict))

    def _admit_outcomes(self, work: Work, truths: Truths, known: Known) -> None:
        """Join outcomes to their events, and give everything its number in order of arrival."""
        n, start = len(work.events), self.next_seq
        if not truths:
            work.seqs, work.kinds = np.arange(start, start + n), np.zeros(n, np.int64)
            self.next_seq += n
            return
        before: list[int] = []  # events ahead of each outcome
        recorded, stored = self._recorded(truths), self._stored(truths, known)
        for place, truth in truths:
            ahead = bisect_left(work.at, place)
            about = self._about(work, truth.event_id, ahead, before) or stored.get(truth.event_id)
            if about is None:
                self._reject(work, place, Rejection(
                    "no_decision", self.line.contract.id_field,
                    f"no decision was made for the event '{truth.event_id}' yet; retry when it was"))
                continue
            flying = self.told.get(truth.event_id)
            if flying is not None and same(flying[1].truth, truth):
                work.results[place] = Repeated(flying[0], flying[1].place)
            elif flying is None and same(recorded.get(truth.event_id), truth):
                work.results[place] = recorded[truth.event_id]
            else:
                told = Told(place, start + ahead + len(before), truth, about)
                work.outcomes.append(told)
                with self._telling:
                    self.told[truth.event_id] = work, told
                before.append(ahead)
        rows = np.arange(n)
        work.seqs = start + rows + np.searchsorted(before, rows, side="right")
        work.kinds = np.insert(np.zeros(n, np.int64), before, 1)
        self.next_seq += n + len(before)

    def _about(self, work: Work, name: str, ahead: int, before: list[int]) -> Earlier | None:
        """The event of an outcome, where it came ahead of it in this very work."""
        row = work.index.get(name)
        if row is None or row >= ahead:
            return None
        seq = self.next_seq + row + sum(1 for events in before if events <= row)
        return Earlier(seq, work.events[row], int(work.times[row]), None, work, row)

    def _stored(self, truths: Truths, known: Known) -> dict[str, Earlier]:
        """The events of outcomes that are in flight or in the ledger, read in one go."""
        return self._recalled({truth.event_id: known[truth.event_id] for _, truth in truths if truth.event_id in known})

    def _recalled(self, known: Known) -> dict[str, Earlier]:
        """Events seen before, those of the ledger read in one go: whoever sends again often sends all again."""
        flying = {name: where for name, where in known.items() if isinstance(where, Work)}
        seqs = {name: where for name, where in known.items() if not isinstance(where, Work)}
        records = list(map(self.line.records.read, self.ledger.read(list(seqs.values()))))
        times = self.line.columns.times([record.event for record in records]).tolist()
        read = {name: Earlier(seqs[name], record.event, time, record)
                for name, record, time in zip(seqs, records, times, strict=True)}
        return read | {name: _under_way(work, work.index[name]) for name, work in flying.items()}

    def _recorded(self, truths: Truths) -> dict[str, OutcomeRecord]:
        """The newest recorded outcome of these events, where no newer one is in flight."""
        quiet = [truth.event_id for _, truth in truths if truth.event_id not in self.told]
        found = self.ledger.newest(OUTCOME, quiet)
        entries = self.ledger.read(list(found.values()))
        return {e.key: self.line.records.read(e) for e in entries}


def _under_way(work: Work, row: int) -> Earlier:
    return Earlier(int(work.seqs[row]), work.events[row], int(work.times[row]), None, work, row)


def same(earlier: OutcomeRecord | Outcome | None, truth: Outcome) -> bool:
    """Whether an outcome says what was said already. One that does not say when it became known says nothing new
    when its label is no other."""
    return earlier is not None and earlier.label == truth.label and truth.known_at in (None, earlier.known_at)


def bytes_of(raw: Raw) -> bytes:
    """The raw bytes of a record, for quarantine; rows of tables are written as JSON."""
    return raw if isinstance(raw, bytes) else msgspec.json.encode(dict(raw), enc_hook=str)
