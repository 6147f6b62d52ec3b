"""The engine: one writer that walks the whole line for batches of 1..n and answers only what is durable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flightworthy.decision.admission import Admission
from flightworthy.decision.consent import NO_CONSENT
from flightworthy.decision.course import PROMOTED, ROLLOUT, Course
from flightworthy.decision.explore import DAY, PROGRESS, Budget
from flightworthy.decision.fallback import BASELINE, CHALLENGER, DEFAULT, SPILLED, Scored
from flightworthy.decision.line import FeatureRows, Line, Moments, outcome_record
from flightworthy.decision.record import VERSION, ActRecord, entries_of
from flightworthy.decision.recovery import advance_from_ledger, begin, leaf_at
from flightworthy.decision.rooms import Rooms, load_models, open_model
from flightworthy.decision.route import CHALLENGED
from flightworthy.decision.work import OUTCOME, Arrivals, Ints, Result, Spilled, Work
from flightworthy.governance.ledger import ACT, Block, Ledger
from flightworthy.governance.log.keys import signers
from flightworthy.governance.log.note import Signer
from flightworthy.governance.log.publisher import Publisher
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.clock import Clock, SystemClock
from flightworthy.ground.errors import FlightworthyError, LedgerError
from flightworthy.integration.contract import Raw
from flightworthy.integration.features import snapshot
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.asked import LoadedModel

KILL_SWITCH = "kill-switch"
_log = logging.getLogger("flightworthy.decision")


class Engine:
    """Decides events and takes in outcomes. Not thread-safe: stages must be called in order (see `stream`)."""

    def __init__(self, pilot: Pilot, ledger: Ledger, models: dict[str, LoadedModel], snapshots: snapshot.Snapshots | None = None,
                 clock: Clock | None = None, models_folder: Path = Path(), signers: Sequence[Signer] = (),
                 vault: Vault | None = None, base: Path | None = None, parts: int = 1,
                 states: Callable[[Line], FeatureState] = Line.state, between: Callable[[], None] = lambda: None) -> None:
        self.pilot, self.ledger, self.clock, self.models_folder = pilot, ledger, clock or SystemClock(), models_folder
        self.publisher = Publisher(ledger, signers) if signers else None
        self.vault = vault
        self.line = Line(pilot, models, vault)
        self.state: FeatureState
        self.admission: Admission
        self.budget, self._parts = Budget.of_pilot(pilot, parts), parts
        self.fresh, self._between = states, between
        self._snapshots = snapshots
        self._durable = 0, b""  # number and leaf of the newest entry that is in the ledger and in the state
        self.base = base  # the state of all that expired
        self.recovered = self.recover()

    @classmethod
    def open(cls, pilot: Pilot, base: Path, clock: Clock | None = None, snapshots: bool = True,
             models: Path | None = None, between: Callable[[], None] = lambda: None) -> Engine:
        """The engine over a pilot's rooms, with its champion and the previous one, recovered to where it stopped; shards
        share ``models``. ``between`` is called every few thousand entries of the ledger that are read; what it raises ends that.

        Raises `ModelError` when no model was trained, `LedgerError` when the ledger cannot be opened, `ProofError` when it is
        not the one its last checkpoint speaks of.
        """
        rooms = Rooms.of(pilot, base)
        folder = models or rooms.models
        ledger = rooms.open_ledger()
        try:
            shared = rooms.shared_states(ledger)
            kept = rooms.snapshots(pilot, ledger) if snapshots and shared is None else None
            return cls(pilot, ledger, load_models(pilot, folder), kept, clock, folder,
                       signers(rooms.open_secrets(), pilot.name, rooms.part), rooms.open_vault(pilot, ledger), rooms.expired,
                       rooms.parts, shared or Line.state, between)
        except BaseException:
            ledger.close()  # whoever tries again opens another
            raise

    def adopt(self, line: Line, state: FeatureState | None) -> None:
        """Go on with another line, and with its feature state where its features are others; a rollout goes on as well. No batch
        may be under way. Raises `ModelError` when its challenger does not fit the other line; then nothing has changed."""
        challenger = self.line.chain.models.get(CHALLENGER)
        line.follow(self.line.router.course)
        line.use(line.chain.models | ({} if challenger is None else {CHALLENGER: challenger}))
        before, self.pilot, self.line = self.admission, line.pilot, line
        self.budget = Budget.of_pilot(line.pilot, self._parts)
        self.admission = Admission(line, self.ledger)
        self.admission.watermark, self.admission.next_seq = before.watermark, before.next_seq
        self.state = self.state if state is None else state

    # -- whole line ---------------------------------------------------------------------------------------------
    def decide(self, raws: Sequence[Raw], source: str = "call") -> list[Result]:
        """Decide events; returns when every decision is durable. One result for each record, in order: a decision
        record, or a `Rejection` for one that went to quarantine. A repeated event gets its first decision."""
        return self.process(Arrivals(raws, self.clock.now(), source=source))

    def observe(self, raws: Sequence[Raw], source: str = "call") -> list[Result]:
        """Take in outcomes; returns when they are durable."""
        return self.process(Arrivals(raws, self.clock.now(), [OUTCOME] * len(raws), source=source))

    def process(self, arrivals: Arrivals) -> list[Result]:
        """Events and outcomes mixed, in order of arrival. Several engines may do this on one ledger: they take turns, and each
        begins with what the others wrote."""
        with self.ledger.turn() as last:
            self._catch_up(last)
            return self._process(arrivals)

    def _process(self, arrivals: Arrivals) -> list[Result]:
        try:
            work = self.prepare(arrivals)
            self.score(work)
            self.finish(work)
            self.commit(work)
        except BaseException:
            # The feature state may be ahead of the ledger now; the ledger is the truth.
            self.recover()
            raise
        return self.results(work)

    # -- stages, in this order for every batch; different batches may be in different stages ------------------------
    def prepare(self, arrivals: Arrivals) -> Work:
        """Admit and compute features; changes the feature state, nothing durable yet."""
        started = self.clock.tick()
        work = self.admission.admit(arrivals)
        self.state.reach(self.admission.next_seq - 1, self.admission.watermark)
        work.frame = self.line.features(self.state, self._rows(work))
        if not arrivals.past:
            work.arms = self.line.route(work.events)
        waited = started - arrivals.received_tick if arrivals.received_tick else 0
        work.clocks[:2] = [waited // 1000, (self.clock.tick() - started) // 1000]
        return work

    def score(self, work: Work) -> None:
        """Ask the models; touches nothing but the work."""
        if work.arrivals.past or not work.events:
            return
        started = self.clock.tick()
        chain = self.line.chain
        if (spilled := _spilled(work)) is not None:
            scored = chain.passed_over([f"{SPILLED}: {s.why}" for s in spilled], DEFAULT)
        elif self.killed:
            scored = chain.passed_over([KILL_SWITCH] * len(work.frame))
        elif 0 in work.consents and self.admission.consents is not None:
            scored = self._score_consenting(work, self.admission.consents.step)
        else:
            scored = self._ask(work)
        work.outputs, work.paths = scored.outputs, scored.paths
        work.clocks[2] = (self.clock.tick() - started) // 1000

    def _score_consenting(self, work: Work, otherwise: str) -> Scored:
        """The models see those who consented, and nobody else."""
        asked = np.array(work.consents) > 0
        out = self.line.chain.passed_over([NO_CONSENT] * len(asked), DEFAULT if otherwise == DEFAULT else BASELINE)
        rows = np.flatnonzero(asked)
        out.put(rows, self._ask(work, rows))
        return out

    def _ask(self, work: Work, some: Ints | None = None) -> Scored:
        """The models answer these rows, or all: for those of the challenger's arm the challenger first, and its time counts as
        theirs."""
        x, chain = self.line.inputs(work.frame if some is None else work.frame[some]), self.line.chain
        if not self.line.router.course.share:
            return chain.score(x)
        rows = np.arange(len(x)) if some is None else some
        mine = np.fromiter((work.arms[row] == CHALLENGED for row in rows.tolist()), bool, len(rows))
        started = self.clock.tick()
        out, tried = chain.score(x[~mine]), self.clock.tick()
        both = Scored(np.full((len(rows), chain.width), np.nan), [[] for _ in rows])
        both.put(np.flatnonzero(~mine), out)
        both.put(np.flatnonzero(mine), chain.score(x[mine], challenger=True))
        work.tried = (tried - started) // 1000, (self.clock.tick() - tried) // 1000
        return both

    def finish(self, work: Work) -> None:
        """Policy, reasons, records, canonical bytes."""
        n, arrived, seqs = len(work.events), work.arrivals.arrived, work.seqs.tolist()
        if work.arrivals.past:
            work.records = self.line.remember(work.events, seqs, arrived)
        elif n:
            spilled = _spilled(work)
            moments = Moments([arrived] * n, [self.clock.now()] * n, _clocks(work)) if spilled is None else Moments(
                [s.arrived for s in spilled], [s.decided for s in spilled], [[0, 0, 0]] * n)
            work.records = self.line.decide(work.events, seqs, work.frame, work.arms, work.outputs, work.paths, moments,
                                            work.consents, self._chances(arrived))
            work.spent = {} if self.budget is None or self.budget.day < 0 else {self.budget.key: self.budget.spent}
        records = work.records
        if work.outcomes:
            records = list(records)
            for told in work.outcomes:
                record = outcome_record(told.seq, told.truth.event_id, told.about.seq, told.truth.label,
                                        told.truth.known_at, arrived)
                work.results[told.place] = record
                records.insert(told.seq - self._first(work), record)
        work.entries = self.line.records.entries([*records, *work.acts] if work.acts else records)

    def note(self, work: Work, name: str, who: str, said: dict[str, str]) -> None:
        """Write an act down with a prepared batch, after what is in it; the next batch must not be prepared yet."""
        work.acts.append(ActRecord(VERSION, ACT, self.admission.next_seq, name, who, said, work.arrivals.arrived))
        self.admission.next_seq += 1

    def _chances(self, arrived: int) -> Budget | None:
        """What the day can still bear to let through."""
        if self.budget is not None and self.budget.day != (day := arrived // DAY):
            self.budget.at(day, self.ledger.progress(f"{PROGRESS}{day}"))
        return self.budget

    def act(self, name: str, who: str, said: dict[str, str]) -> ActRecord:
        """Write down that something was done; returns when it is durable. No batch may be under way."""
        return self.acts(who, [(name, said)])[0]

    def acts(self, who: str, done: Sequence[tuple[str, dict[str, str]]], **also: Any) -> list[ActRecord]:
        """Write several down with one commit, together with other members of its `Block`."""
        with self.ledger.turn() as last:
            self._catch_up(last)
            return self._acts(who, done, also)

    def _acts(self, who: str, done: Sequence[tuple[str, dict[str, str]]], also: dict[str, Any]) -> list[ActRecord]:
        first, now = self.admission.next_seq, self.clock.now()
        records = [ActRecord(VERSION, ACT, first + i, name, who, said, now) for i, (name, said) in enumerate(done)]
        if records:
            self.ledger.commit(Block(entries := entries_of(records), **also))
            self.admission.next_seq += len(records)
            self._durable = self.admission.next_seq - 1, entries.leaves[-1]
        return records

    def kill(self, on: bool, who: str, why: str) -> ActRecord:
        """The kill switch: while it is on, no model is asked and the baseline decides everything. It outlives restarts."""
        record = self.act(KILL_SWITCH, who, {"switch": "on" if on else "off", "why": why})
        self.killed = on
        return record

    def _read_switch(self) -> bool:
        found = self.ledger.newest(ACT, [KILL_SWITCH])
        return bool(found) and self.line.records.read(self.ledger.read([found[KILL_SWITCH]])[0]).said["switch"] == "on"

    def roll(self, step: str, who: str, why: str, to: Callable[[Course], Course]) -> ActRecord:
        """Write down where a step leads from how the rollout stands, whoever brought it there; returns when it is durable, and
        assigns by it. Raises what ``to`` and `commit` do; then nothing has changed."""
        with self.ledger.turn() as last:
            self._catch_up(last)
            record = self._acts(who, [(ROLLOUT, to(self.line.router.course).said(step, why))], {})[0]
            self._follow()
        return record

    def course(self) -> Course:
        """Where the rollout stands by the ledger, whoever brought it there. Raises `LedgerError`."""
        found = self.ledger.newest(ACT, [ROLLOUT])
        return Course.of(self.line.records.read(self.ledger.read([found[ROLLOUT]])[0]).said) if found else Course()

    def _follow(self) -> None:
        """Assign, and have the models, as the newest act of a rollout says. A challenger that cannot be loaded leaves its arm to
        the champion, and every decision says so."""
        course = self.course()
        if course == self.line.router.course:
            return
        models = {step: model for step, model in self.line.chain.models.items() if step != CHALLENGER}
        try:
            if course.open:
                models[CHALLENGER] = open_model(self.pilot, self.models_folder, course.model)
            elif course.state == PROMOTED:
                models = load_models(self.pilot, self.models_folder)
        except FlightworthyError as error:
            _log.error("rollout %d, %s: its model cannot be loaded, the champion decides: %s", course.number, course.state, error)
        self.line.follow(course)
        self.line.use(models)

    def commit(self, work: Work, progress: dict[str, int] | None = None, settled: Sequence[tuple[int, str]] = ()) -> None:
        """Make the batch durable, with what it settles in quarantine. Raises `LedgerError`; then `recover` before going on."""
        if work.entries or work.quarantined or progress or work.people or settled:
            self.ledger.commit(Block(work.entries, work.quarantined, (progress or {}) | work.spent, settled, work.people))
        if work.entries:
            self._durable = work.entries.first + len(work.entries) - 1, work.entries.leaves[-1]
        self.admission.release(work)

    @staticmethod
    def results(work: Work) -> list[Result]:
        """The answers of a committed batch, one for each arrival."""
        return work.answers()

    # -- state --------------------------------------------------------------------------------------------------
    def recover(self) -> int:
        """Bring the feature state to where the ledger is: last snapshot, then the entries after it. Returns their
        number."""
        self.state = self.fresh(self.line)
        self.admission = Admission(self.line, self.ledger)
        if self.vault is not None:
            self.vault.forget()
        stands = self.state.stands(self.ledger.last())
        saved = self._restored() if stands is None else snapshot.Snapshot(*stands)
        if saved is None:
            self.state, saved = begin(self.line, self.base)
        # What is read ends here: an owner of before may still write, and what came after the last look would be skipped.
        last, self.admission.watermark = self.ledger.last(), saved.watermark
        return self._read(saved.seq + 1, last)

    def _restored(self) -> snapshot.Snapshot | None:
        """Where the state stands with its snapshot; None where there is none that is of this ledger."""
        kept = self._snapshots
        saved = None if kept is None else kept.restore(self.state, self.pilot.recipe_digest)
        if kept is None or saved is None:
            return None
        if saved.seq > (last := self.ledger.last()):
            raise LedgerError("the feature snapshot is ahead of the ledger: entries are missing", where=kept.where,
                              found=saved.seq, expected=f"at most {last}",
                              next_step="restore the ledger, or delete the snapshot if the loss is accepted")
        if saved.leaf != leaf_at(self.ledger, saved.seq):
            _log.warning("the feature snapshot %s is of another entry %d than the ledger's; the state is read from the ledger",
                         kept.where, saved.seq)
            return None
        return saved

    def _read(self, first: int, last: int) -> int:
        """Take these entries of the ledger in; their number."""
        count, watermark = advance_from_ledger(self.line, self.state, self.ledger, first, last, self._between)
        self.admission.watermark = max(self.admission.watermark, watermark)
        self.admission.next_seq = last + 1
        self._durable = last, b"" if self._snapshots is None else leaf_at(self.ledger, last)
        self._settle()
        return count

    def _settle(self) -> None:
        """What else the ledger says: kill switch, rollout, and what was spent on the day, which is read when next needed."""
        self.killed = self._read_switch()
        self._follow()
        if self.budget is not None:
            self.budget.at(-1, 0)

    def _catch_up(self, last: int | None) -> None:
        """Take in what other writers wrote since."""
        if last is not None and last >= self.admission.next_seq:
            try:
                self._take_in(last)
            except BaseException:
                self.recover()  # the feature state may have some of it
                raise

    def _take_in(self, last: int) -> None:
        self._read(self.admission.next_seq, last)
        if self.admission.consents is not None:
            self.admission.consents.forget()

    def save(self) -> None:
        """Write a snapshot of the feature state (all batches must be committed)."""
        self.capture()()

    def capture(self) -> Callable[[], None]:
        """What writes a snapshot of the feature state as it is now, whenever it is called, in any thread. Raises `LedgerError`
        where a batch is not committed: the ledger may refuse it."""
        return self.written(self.stilled())

    def stilled(self) -> snapshot.Captured | None:
        """The feature state as it is now, also of batches that are only prepared; None where no snapshots are kept."""
        if self._snapshots is None:
            return None
        where = snapshot.Snapshot(self.admission.next_seq - 1, self.admission.watermark)
        return snapshot.Captured.of(self.state, where, self.pilot.recipe_digest)

    def written(self, captured: snapshot.Captured | None) -> Callable[[], None]:
        """What writes it, in any thread; to be asked for when the last batch in it was just committed. Raises `LedgerError` where
        that is not so."""
        kept, (durable, leaf) = self._snapshots, self._durable
        if kept is None or captured is None:
            return lambda: None
        if durable != captured.snapshot.seq:
            raise LedgerError("the feature state has entries that are not in the ledger: no snapshot is made of it",
                              where=kept.where, found=captured.snapshot.seq, expected=f"{durable}",
                              next_step="commit what is under way, or recover")
        return partial(kept.write, captured.of_leaf(leaf))

    def close(self) -> None:
        """Save the state, publish what is not yet, and release the ledger."""
        try:
            self.save()
            if self.publisher is not None:
                self.publisher.publish()
        finally:
            self.ledger.close()

    @staticmethod
    def _first(work: Work) -> int:
        """The number of the first row of a work."""
        firsts = [int(work.seqs[0])] if len(work.seqs) else []
        return min(firsts + [told.seq for told in work.outcomes[:1]])

    def _rows(self, work: Work) -> FeatureRows:
        """Rows of all that was admitted, in order; an outcome's event is the one it belongs to."""
        labels = np.full(len(work.events), self.line.no_label)
        if not work.outcomes:
            return FeatureRows(work.kinds, work.events, work.seqs, labels, work.times, work.numbers if work.events else None)
        first, about = self._first(work), [told.about for told in work.outcomes]
        events = list(work.events)
        for told in work.outcomes:
            events.insert(told.seq - first, told.about.event)
        order = np.argsort(np.r_[work.seqs, [told.seq for told in work.outcomes]], kind="stable")
        return FeatureRows(
            work.kinds, events, np.r_[work.seqs, [e.seq for e in about]][order],
            np.r_[labels, [told.truth.label for told in work.outcomes]][order],
            np.r_[work.times, [e.time for e in about]][order],
            np.concatenate([work.numbers, np.zeros((len(about), work.numbers.shape[1]))])[order] if work.events else None)


def _spilled(work: Work) -> list[Spilled] | None:
    """Of the admitted events of a work, how each was decided beside the ledger."""
    given = work.arrivals.spilled
    return None if given is None else [given[place] for place in work.at]


def _clocks(work: Work) -> list[list[int]]:
    """The clocks of each row: where a challenger was asked, each arm has the time of its own models."""
    if work.tried is None:
        return [work.clocks] * len(work.events)
    waited, features, _ = work.clocks
    theirs, mine = ([waited, features, took] for took in work.tried)
    return [mine if arm == CHALLENGED else theirs for arm in work.arms]
