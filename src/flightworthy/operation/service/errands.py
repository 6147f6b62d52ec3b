"""What a shard does between two batches: answer pings, turn the kill switch, reload, take in what was spilled, leave."""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flightworthy.decision import people
from flightworthy.decision.course import Course
from flightworthy.decision.fallback import CHAMPION, SPILLED
from flightworthy.decision.line import Line
from flightworthy.decision.record import ANSWERED
from flightworthy.decision.reload import Renewed, renew
from flightworthy.decision.rollout import approve, challenger, describe, roll
from flightworthy.decision.work import Arrivals, Spilled
from flightworthy.governance.ledger import ACT, DECISION, Block
from flightworthy.ground.clock import iso
from flightworthy.ground.errors import FlightworthyError
from flightworthy.operation.service import wire
from flightworthy.operation.service.answers import encode
from flightworthy.operation.service.telling import refusals
from flightworthy.operation.service.wire import Answers, Ask, Told

if TYPE_CHECKING:
    from flightworthy.operation.service.shard import Shard

_log = logging.getLogger("flightworthy.service")
PROBE = "service-probe"
APPROVE = "approve"  # a wish beside the steps of a rollout


class Turn(msgspec.Struct):
    """Turn the kill switch."""

    on: bool
    who: str
    why: str


class Plea(msgspec.Struct):
    """Something for people by name; ``act`` is one of `flightworthy.decision.people.ACTS`."""

    act: str
    names: list[str]
    who: str
    why: str


class Roll(msgspec.Struct):
    """Take a step of a rollout, ``there`` (a `Course`); without one only look where it stands. ``model``: the beginning of the
    digest of a challenger to look for."""

    step: str
    who: str
    why: str
    there: Course | None = None
    model: str = ""


class Stands(msgspec.Struct):
    """Where a rollout stands, and the digest that was looked for."""

    course: Course
    model: str


class Renew(msgspec.Struct):
    """Swap to the version that was made ready: ``version`` is what the shard said of it."""

    who: str
    why: str
    version: str


class SpilledRecord(msgspec.Struct):
    """A decision made beside the ledger, as its file keeps it. Times in microseconds UTC."""

    id: str
    raw: bytes
    why: str
    arrived: int
    decided: int
    action: str
    quantity: float | None = None


class State(msgspec.Struct):
    """How a shard is. ``degraded``: its champion gives no answers now."""

    ready: bool
    degraded: bool
    killed: bool
    pilot: str
    model: str
    entries: int
    pid: int = 0


class Errands:
    """Errands of one shard, in the order in which they were sent."""

    def __init__(self, shard: Shard, folder: Path) -> None:
        self._shard, self._folder = shard, folder
        self._due: deque[Ask] = deque()
        self._renewed: dict[int, Renewed | FlightworthyError] = {}  # by the number of the ask
        self._made: tuple[str, Renewed] | None = None  # a version that is ready to be swapped
        self._probes = 0
        self._acts = {wire.PING: self._ping, wire.KILL: self._kill, wire.PREPARE: self._prepare, wire.SWAP: self._swap,
                      wire.SPILL: self._take_in, wire.FIND: self._find, wire.LEAVE: self._leave,
                      wire.PEOPLE: self._people, wire.ROLL: self._roll}

    @property
    def due(self) -> bool:
        """Whether there is something to do without further messages."""
        return bool(self._due)

    def add(self, ask: Ask) -> None:
        """Do this before the next batch."""
        self._due.append(ask)

    def run(self) -> None:
        """Do all that is due; each is answered, whatever becomes of it."""
        while self._due:
            ask = self._due.popleft()
            try:
                answer = self._acts[ask.kind](ask)
            except Exception as error:  # noqa: BLE001 - handed to who asked
                self._shard.fail(error) if not isinstance(error, FlightworthyError) else None
                self._shard.send(refusals([ask], error))
            else:
                if answer is not None:
                    self._shard.send(Answers([Told(ask.number, 200, answer)]))

    def _ping(self, _: Ask) -> bytes:
        self._shard.settle()
        self._probes += 1
        self._shard.engine.ledger.commit(Block(progress={PROBE: self._probes}))
        return encode(self._shard.about())

    def _kill(self, ask: Ask) -> bytes:
        turn = msgspec.json.decode(ask.raws[0], type=Turn)
        self._shard.settle()
        act = self._shard.engine.kill(turn.on, turn.who, turn.why)
        return encode({"on": turn.on, "entry": act.seq, "who": turn.who, "at": iso(act.arrived)})

    def _people(self, ask: Ask) -> bytes:
        plea = msgspec.json.decode(ask.raws[0], type=Plea)
        self._shard.settle()
        self._shard.unsaved()  # a snapshot under way would bring back what is erased now
        return encode(people.ask(self._shard.engine, plea.act, plea.names, plea.who, plea.why))

    def _roll(self, ask: Ask) -> bytes:
        wish, engine = msgspec.json.decode(ask.raws[0], type=Roll), self._shard.engine
        if wish.there is None:
            return encode(Stands(engine.course(), challenger(engine, wish.model) if wish.model else ""))
        self._shard.settle()
        if wish.step == APPROVE:
            act = approve(engine, wish.there.number, wish.who, wish.why)
            return encode({"rollout": wish.there.number, "entry": act.seq, "who": act.who, "at": iso(act.arrived)})
        before = _version(engine.line)
        act = roll(engine, wish.step, wish.who, wish.why, wish.there)
        self._shard.guard()
        if _version(engine.line) != before:
            self._shard.renewed()
        stages = len(engine.pilot.manifest.rollout.stages)
        return encode({"rollout": describe(wish.there, stages), "entry": act.seq, "who": act.who, "at": iso(act.arrived)})

    def _leave(self, _: Ask) -> bytes:
        self._shard.leave()
        return b"{}"

    def _find(self, ask: Ask) -> bytes:
        ids = [raw.decode() for raw in ask.raws]
        return encode(sorted(self._shard.engine.ledger.find(ids)))

    # -- reload -------------------------------------------------------------------------------------------------
    def _prepare(self, ask: Ask) -> bytes | None:
        """First asked for: in the background, while the old version keeps serving. Asked again by ourselves: say what came of it.
        Only when every shard has made the same version ready does one of them swap."""
        made = self._renewed.pop(ask.number, None)
        if made is None:
            threading.Thread(target=self._renew, args=(ask,), daemon=True, name="reload").start()
            return None
        if isinstance(made, FlightworthyError):
            raise made
        version = " ".join(_version(made.line))
        self._made = version, made
        return version.encode()

    def _renew(self, ask: Ask) -> None:
        made: Renewed | FlightworthyError
        try:
            made = renew(self._shard.engine, self._folder)
        except FlightworthyError as error:
            made = error
        except Exception as error:  # noqa: BLE001 - a pilot's own code may raise anything while it loads
            _log.exception("a reload failed")
            made = FlightworthyError(f"the new version cannot be loaded: {type(error).__name__}: {error}")
        self._renewed[ask.number] = made
        self._shard.later(ask)

    def _swap(self, ask: Ask) -> bytes:
        wish = msgspec.json.decode(ask.raws[0], type=Renew)
        engine, (version, made) = self._shard.engine, self._made or ("", None)
        self._made = None
        before, model = _version(engine.line)
        if made is None and wish.version == f"{before} {model}":  # started again meanwhile, with what is in the folder
            return encode({"entry": None, "pilot": before, "model": model, "who": wish.who, "at": iso(engine.clock.now())})
        if made is None or version != wish.version:
            raise FlightworthyError("this version is not ready here: the shard was started again, or asked for another one",
                                    next_step="reload once more")
        self._shard.settle()
        made.catch_up(engine)
        pilot, now = _version(made.line)
        # Written down first: when that fails, nothing has changed.
        act = engine.act("reload", wish.who, {"why": wish.why, "pilot": f"{before} → {pilot}", "model": f"{model} → {now}"})
        engine.adopt(made.line, made.state)
        self._shard.renewed()
        return encode({"entry": act.seq, "pilot": pilot, "model": now, "who": wish.who, "at": iso(act.arrived)})

    # -- what was decided beside the ledger ------------------------------------------------------------------------
    def _take_in(self, ask: Ask) -> bytes:
        """Write spilled decisions into the ledger. Where it holds another decision for the event (its acknowledgement was
        lost), that what the caller was told stands beside it as an act."""
        shard, spilled = self._shard, [msgspec.msgpack.decode(raw, type=SpilledRecord) for raw in ask.raws]
        shard.settle()
        engine = shard.engine
        results = engine.process(Arrivals([s.raw for s in spilled], engine.clock.now(), source="spill",
                                          spilled=[Spilled(s.why, s.arrived, s.decided) for s in spilled]))
        told = [(f"{ANSWERED}:{record.id}", _said(record, result)) for record, result in zip(spilled, results, strict=True)
                if getattr(result, "kind", "") != DECISION or not result.path[0].startswith(SPILLED)]
        known = engine.ledger.newest(ACT, [name for name, _ in told])  # from a try whose acknowledgement was lost
        engine.acts("service", [(name, said) for name, said in told if name not in known])
        return encode({"taken": len(spilled), "conflicts": len(told)})


def _version(line: Line) -> tuple[str, str]:
    """The digests of a line: of its pilot, of its champion."""
    return line.pilot.digest, line.chain.models[CHAMPION].digest


def _said(record: SpilledRecord, result: Any) -> dict[str, str]:
    return {"why": f"{SPILLED}: {record.why}", "action": record.action, "decided": iso(record.decided),
            "quantity": "" if record.quantity is None else repr(record.quantity),
            "entry": str(getattr(result, "seq", "")), "rejected": getattr(result, "reason", "")}
