"""One partition of a worker: its engine, how far it was read, and how far what came of it was told.

The ledger says where everything goes on. A commit writes decisions, quarantine and the offsets after them as one; a takeover is
an entry of its own, so whoever owned the partition before cannot add to the ledger any more (its numbers no longer continue it).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from flightworthy.decision.engine import Engine
from flightworthy.decision.line import Line
from flightworthy.decision.rooms import Rooms, load_models, part_of, turn_of
from flightworthy.decision.work import Arrivals, Work
from flightworthy.ground.clock import Clock
from flightworthy.ground.errors import FlightworthyError, LedgerError
from flightworthy.integration.contract import Rejection
from flightworthy.integration.features.snapshot import Captured
from flightworthy.integration.streams import Fetched
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.publishing import publishing
from flightworthy.operation.worker.buffers import NEVER, Buffers, Places, Portion
from flightworthy.operation.worker.early import Early
from flightworthy.operation.worker.suspects import Suspects

_log = logging.getLogger("flightworthy.stream")
# Acts: a worker took a partition up, or left it in order; a batch held nothing to decide; records went before anybody read them.
TAKEOVER, LEFT, READ, MISSING = "takeover", "left", "read", "missing"
PUBLISHED, DEAD, OWNER = "stream:published", "stream:dead", "stream:owner"
SNAPSHOT_EVERY = 16_384  # entries, after which a snapshot is due: what a takeover reads again
_SHARE = 20  # a snapshot that took a second of the processor is not made again for so many


@dataclass(frozen=True)
class Setting:
    """What all lanes of a worker share. ``who`` names the worker; ``token`` is its own number; ``history_until`` microseconds:
    what the broker had before is remembered, not decided, when a ledger begins; ``batch`` records at most."""

    pilot: Pilot
    base: Path
    clock: Clock
    who: str
    token: int
    history_until: int = NEVER
    batch: int = 8192


@dataclass
class Counts:
    """What came of records. ``remembered``: events of the past; ``repeated``: what was known already."""

    decisions: int = 0
    remembered: int = 0
    outcomes: int = 0
    repeated: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    batches: int = 0

    def add(self, other: Counts) -> None:
        """Others, to these."""
        for name in ("decisions", "remembered", "outcomes", "repeated", "batches"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.quarantined.items():
            self.quarantined[reason] = self.quarantined.get(reason, 0) + count


class Lane:
    """Stages are called by one thread each, in order; `open`, `drop` and `hand_over` when nothing is under way."""

    def __init__(self, setting: Setting, number: int, parts: int, sources: tuple[str, str]) -> None:
        self.setting, self.number, self.sources = setting, number, sources
        self._folder = part_of(setting.base, number, parts)
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self.engine: Engine
        self.early: Early
        self.buffers = Buffers()
        self.positions: list[int | None] = [None, None]  # of what was prepared
        self.committed: list[int] = [-1, -1]  # of what is durable
        self.published = self.dead = 0  # entries and quarantined records that were told
        self.last = 0  # the newest entry
        self.end = 0  # the offset after the newest event that the broker is known to have
        self.counts = Counts()
        self.suspects = Suspects(sources)
        self.under_way = 0
        self.failed: BaseException | None = None
        self.running = self._given_up = False
        self.turn = 0  # when it last had its turn
        self.at = 0.0  # when it last had a batch, by `time.monotonic`
        self.since = 0.0  # when it was taken up, by the same
        self.missing: list[int] = []  # topics of which records are gone that nobody read
        self.held: set[int] = set()  # topics of which nothing more is fetched for now
        self.generation = 0  # how often it was taken up
        self.rests = False  # it gets no new batch until nothing is under way: then `rested`
        self._due: list[int] = []
        self._saved, self._saved_at, self._took = 0, 0, 0  # entry; instant, and time of the processor, in nanoseconds
        self._saving: threading.Thread | None = None
        self._stilled: tuple[Work, Captured | None] | None = None  # the state after a batch, to be written when that is durable

    # -- taking up and letting go ---------------------------------------------------------------------------------
    def open(self) -> None:
        """Take the partition up where the ledger says it was left. Raises `LedgerError` and what the engine raises."""
        self.drop()
        models = Rooms.of(self.setting.pilot, self.setting.base).models
        engine = Engine.open(self.setting.pilot, self._folder, self.setting.clock, models=models, between=self._go_on)
        self._stack.callback(engine.ledger.close)
        try:
            self._take_up(engine)
            self._stack.enter_context(publishing(engine, turn_of(self._folder)))
        except BaseException:
            self._stack.close()
            raise
        self.engine, self.early = engine, Early(engine)
        self._saved = engine.admission.next_seq - engine.recovered
        self.generation += 1
        self.rests, self._stilled = False, None
        self.failed = None
        if self._save_due():  # else whoever is next would read it all again
            self._saved = engine.admission.next_seq
            self._save(engine.capture())

    def give_up(self) -> None:
        """It is another worker's: whoever is opening it shall stop. A takeover written down now would fence off the other one."""
        self._given_up = True

    def _go_on(self) -> None:
        if self._given_up:
            raise LedgerError("the partition went to another worker while it was taken up", where=self.sources[0], retryable=True)

    def _take_up(self, engine: Engine) -> None:
        known = engine.ledger.positions()
        self.suspects = Suspects.after(known, self.sources, self.positions_of(known))
        first = PUBLISHED not in known
        self.last = engine.ledger.last()
        self.published = self.last if first else known[PUBLISHED]
        self.dead = known.get(DEAD, 0)
        begin = {} if not first else {PUBLISHED: self.published, self._history: self.setting.history_until}
        at = self.positions_of(known)
        said = {"partition": self.sources[0], "events": _said(at[0]), "outcomes": _said(at[1]),
                "unfinished": str(self.suspects.tries)}
        self._go_on()
        engine.acts(self.setting.who, [(TAKEOVER, said)], progress={OWNER: self.setting.token, **self.suspects.marks, **begin})
        known = engine.ledger.positions()  # whoever owned it may have written until now
        self.positions = self.positions_of(known)
        self.committed = [-1 if p is None else p for p in self.positions]
        newest = [known.get(name, NEVER) for name in self._newest]
        self.buffers = Buffers(known.get(self._history, NEVER), (newest[0], newest[1]))

    @property
    def _history(self) -> str:
        return f"{self.sources[0]} history"

    @property
    def _newest(self) -> list[str]:
        return [f"{source} newest" for source in self.sources]

    def positions_of(self, known: dict[str, int]) -> list[int | None]:
        """What to read next of both topics, by the ledger."""
        return [known.get(source) for source in self.sources]

    def drop(self) -> None:
        """Let the engine go as it is: the ledger has all that counts."""
        if self._saving is not None:
            self._saving.join()
        self._stack.close()
        self._stack = ExitStack()

    def hand_over(self) -> None:
        """Leave everything so that whoever is next goes on at once."""
        try:
            if self._saving is not None:
                self._saving.join()  # else the older one might come after
            if self.failed is None:
                self.engine.acts(self.setting.who, [(LEFT, {"partition": self.sources[0]})],
                                 progress={**self.marks(), **self.suspects.clean()})
                self.engine.save()
        except FlightworthyError as error:  # the next owner reads a little more
            _log.warning("%s was not handed over cleanly: %s", self.sources[0], error)
        finally:
            self.drop()

    # -- stages ---------------------------------------------------------------------------------------------------
    def take(self, more: Fetched) -> None:
        """Records that came."""
        self.buffers.add(more)

    def prepare(self, drained: tuple[bool, bool]) -> tuple[Work, dict[str, int]] | None:
        """The next batch as far as its features, with the progress that belongs to it; None where there is nothing to do."""
        portion = self.buffers.portion(self.suspects.size(self.setting.batch), drained)
        if portion is None:
            return None
        self.at = time.monotonic()
        self.begun()
        try:
            return self._prepared(portion)
        except BaseException as error:
            self.broke(error)
            self.over()
            raise

    def _prepared(self, portion: Portion) -> tuple[Work, dict[str, int]]:
        engine, clock = self.engine, self.setting.clock
        for kind, position in enumerate(portion.positions):
            self.positions[kind] = self.positions[kind] if position is None else position
        places = Places(self.sources, portion.kinds, portion.offsets)
        arrivals = Arrivals(portion.raws, clock.now(), portion.kinds, self.sources[0], received_tick=clock.tick(),
                            past=portion.past, places=places)
        if self.suspects.alone:
            self.suspects.before(engine.ledger, places[0])
        if self.suspects.condemned(places[0]):
            _log.error("%s %d ended every worker that read it: it goes to quarantine unread", *places[0])
            work = Work(arrivals, [Rejection("poison", "", "every worker that read this record ended")])
            work.quarantined.append(engine.admission.quarantined(arrivals, 0, work.results[0]))
        else:
            work = engine.prepare(arrivals)
        if work.quarantined and not len(work.events) and not work.outcomes:  # an entry, that an owner of before cannot add too
            engine.note(work, READ, self.setting.who, {"partition": self.sources[0], "quarantined": str(len(work.quarantined))})
        while self.missing:
            said = {"topic": self.sources[self.missing.pop()], "on from": str(portion.offsets[0])}
            engine.note(work, MISSING, self.setting.who, said)
        progress = {source: at for source, at in zip(self.sources, self.positions, strict=True) if at is not None and source}
        for name, buffer in zip(self._newest, (self.buffers.events, self.buffers.outcomes), strict=True):
            if buffer.taken > NEVER:
                progress[name] = buffer.taken  # where a topic's times go back, whoever is next puts it in the same order
        if self._stilled is None and self._save_due():
            self._stilled, self._saved = (work, engine.stilled()), engine.admission.next_seq
        return work, progress

    def commit(self, work: Work, progress: dict[str, int]) -> None:
        """Make a batch durable, with where to go on after it. Raises `LedgerError`."""
        self.engine.finish(work)
        self.engine.commit(work, {**progress, **self.marks(), **self.suspects.passed(len(work.results))})
        self.last = last_of(work) or self.last
        for kind, source in enumerate(self.sources):
            self.committed[kind] = progress.get(source, self.committed[kind])
        self._count(work)
        if self._stilled is not None and self._stilled[0] is work:
            self._save(self.engine.written(self._stilled[1]))
            self._stilled = None

    def marks(self) -> dict[str, int]:
        """How far what came of it was told; written with the next commit."""
        return {PUBLISHED: self.published, DEAD: self.dead}

    def _count(self, work: Work) -> None:
        counts, n = self.counts, len(work.events)
        counts.batches += 1
        if work.arrivals.past:
            counts.remembered += n
        else:
            counts.decisions += n
        counts.outcomes += len(work.outcomes)
        counts.repeated += len(work.results) - n - len(work.outcomes) - sum(q.reason != "id_conflict" for q in work.quarantined)
        for held in work.quarantined:
            counts.quarantined[held.reason] = counts.quarantined.get(held.reason, 0) + 1

    def broke(self, error: BaseException) -> None:
        """Nothing of what is under way counts any more; the lane is taken up anew when all of it has passed."""
        with self._lock:
            self.failed = self.failed or error

    def begun(self) -> None:
        """A batch is under way: until it is `over` nobody may take the ledger away."""
        with self._lock:
            self.under_way += 1

    def over(self) -> None:
        """It has passed, one way or the other."""
        with self._lock:
            self.under_way -= 1

    @property
    def goes(self) -> bool:
        """Whether it is taken up and nothing went wrong."""
        return self.running and self.failed is None

    # -- beside ---------------------------------------------------------------------------------------------------
    def look(self) -> None:
        """See whether outcomes that came early can be taken in; then rest."""
        if self.rests:
            return  # it was seen
        try:
            self._due = self.early.look() if self.sources[1] else []
        except FlightworthyError as error:
            self.broke(error)
            return
        self.rests = bool(self._due)

    def rested(self) -> None:
        """Nothing is under way: do what that is needed for, and go on."""
        self.rests = False
        try:
            self.counts.outcomes += self.early.take(self._due)
            self._due = []
        except FlightworthyError as error:
            self.broke(error)

    def _save_due(self) -> bool:
        """Whether enough came since the last snapshot, and it does not take too much of the time."""
        saving = self._saving is not None and self._saving.is_alive()
        return (not saving and self.engine.admission.next_seq - self._saved >= SNAPSHOT_EVERY
                and self.setting.clock.tick() - self._saved_at >= _SHARE * self._took)

    def _save(self, write: Callable[[], None]) -> None:
        """Have a thread write a snapshot of the features."""
        self._saved_at = self.setting.clock.tick()
        self._saving = threading.Thread(target=self._write, args=(write,), name="snapshot", daemon=True)
        self._saving.start()

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, FlightworthyError) as error:  # a takeover reads a little more
            _log.warning("%s: a snapshot of the features failed: %s", self.sources[0], error)
        self._took = time.thread_time_ns()  # by the clock on the wall it would be rare just where there is much to do

    def still_ours(self) -> bool:
        """Whether nobody took the partition up after us. Raises `LedgerError`."""
        return self.engine.ledger.progress(OWNER) == self.setting.token


def warm(setting: Setting) -> None:
    """Load what every takeover needs, so that the first one does not wait a second for it. Raises `ModelError`."""
    Line(setting.pilot, load_models(setting.pilot, Rooms.of(setting.pilot, setting.base).models)).warm()


def last_of(work: Work) -> int:
    """The number of the last entry of a finished batch; 0 where it has none."""
    return work.entries.first + len(work.entries) - 1 if len(work.entries) else 0


def _said(position: int | None) -> str:
    return "the oldest" if position is None else str(position)
