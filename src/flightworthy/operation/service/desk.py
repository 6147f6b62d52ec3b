"""Takes records to the shards and brings their answers back. What a shard cannot do in time is done as the manifest says:
refused, or decided by the safe default beside the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from flightworthy.decision.fallback import DEFAULT, SPILLED
from flightworthy.ground.clock import Clock, iso
from flightworthy.integration.batch import Columns
from flightworthy.integration.contract import Contract, RejectionError
from flightworthy.manifest.pilot import ParsedRule, Pilot
from flightworthy.operation.service import wire
from flightworthy.operation.service.answers import Answer, encode, problem
from flightworthy.operation.service.errands import SpilledRecord
from flightworthy.operation.service.links import Done, Link
from flightworthy.operation.service.spill import Spill

_log = logging.getLogger("flightworthy.service")
_AT_ONCE, _LOOK = 256, 0.1
_RAWS = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Desk:
    """Between the routes and the shards of one pilot."""

    def __init__(self, pilot: Pilot, links: Sequence[Link], spill: Spill, clock: Clock) -> None:
        self.links, self.spill, self.clock = links, spill, clock
        self.spilled = self.refused = 0
        self.use(pilot)

    def use(self, pilot: Pilot) -> None:
        """Go on with another version of the manifest."""
        self.pilot, self.service = pilot, pilot.manifest.service
        self._contract = Contract(pilot)
        self._columns = Columns(pilot, self._contract)
        self._columns.warm()
        # A tenth of the budget is left for the fallback and the way back.
        self._patience = int(self.service.deadline * 1000 * 0.9)
        defaults = [step for step in pilot.fallback if isinstance(step, ParsedRule)]
        self._default = defaults[0].action if defaults else None
        self._key = msgspec.json.Decoder(msgspec.defstruct("Key", [(pilot.assigned_by, Any)])).decode
        self._field = pilot.assigned_by

    # -- asking -------------------------------------------------------------------------------------------------
    def take(self, kind: int, raws: list[bytes], many: bool, done: Done) -> None:
        """Have records decided (or outcomes noted); ``done`` gets the HTTP status and body. Raises `BusyError`."""
        if self.spill.held and kind == wire.EVENT and not many and (told := self._told_already(raws[0])) is not None:
            done(200, encode(told))
        elif len(self.links) == 1:
            self._ask(self.links[0], kind, raws, many, done)
        elif kind == wire.OUTCOME:
            asyncio.get_running_loop().create_task(self._outcomes(raws, many, done))
        else:
            self._scatter([self._shard_of(raw) for raw in raws], kind, raws, many, done)

    def _ask(self, link: Link, kind: int, raws: list[bytes], many: bool, done: Done) -> None:
        def back(status: int, body: bytes) -> None:
            if status != wire.REFUSED:
                done(status, body)
            else:
                self._instead(kind, raws, many, body, done)

        link.ask(kind, raws, self._patience, back, many)

    def _scatter(self, shards: list[int], kind: int, raws: list[bytes], many: bool, done: Done) -> None:
        if not many:
            self._ask(self.links[shards[0]], kind, raws, False, done)
            return
        gather = Gather(len(raws), done)
        for shard in sorted(set(shards)):
            places = [i for i, s in enumerate(shards) if s == shard]
            self._ask(self.links[shard], kind, [raws[i] for i in places], True, gather.part(places))

    async def _outcomes(self, raws: list[bytes], many: bool, done: Done) -> None:
        """An outcome belongs to the shard that has its event; one that no shard has goes to the first, which holds it."""
        field = self.pilot.manifest.events.id
        read = msgspec.json.Decoder(msgspec.defstruct("Id", [(field, Any)])).decode
        names = [_text_of(read, raw, field) for raw in raws]
        asked = [name.encode() for name in names if name]
        found = await asyncio.gather(*(link.call(wire.FIND, asked, self._patience / 1e9) for link in self.links))
        home = {name: i for i, (status, body) in enumerate(found) if status == 200 for name in msgspec.json.decode(body)}
        try:
            self._scatter([home.get(name, 0) for name in names], wire.OUTCOME, raws, many, done)
        except Exception as error:  # noqa: BLE001 - too much waits: whoever asked hears of it
            done(503, encode(problem(503, "busy", str(error), retry=True)))

    def _shard_of(self, raw: bytes) -> int:
        key = _text_of(self._key, raw, self._field)
        return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % len(self.links)

    # -- instead ------------------------------------------------------------------------------------------------
    def _instead(self, kind: int, raws: list[bytes], many: bool, why: bytes, done: Done) -> None:
        """No shard made it durable in time."""
        reason = why.decode(errors="replace")
        if kind != wire.EVENT or self.service.ledger_down != "spill" or self._default is None:
            self.refused += len(raws)
            done(503, encode(problem(503, "ledger", "nothing could be made durable in time", reason,
                                     next_step="send the same record again: an id is decided once", retry=True)))
            return
        if not many:
            self._spill(raws[0], reason, done)
            return
        gather = Gather(len(raws), done)
        for place, raw in enumerate(raws):
            self._spill(raw, reason, gather.one(place))

    def _spill(self, raw: bytes, why: str, done: Done) -> None:
        try:
            event = self._contract.read(raw)
            self._plausible(event)
        except RejectionError as error:
            done(503, encode(problem(503, error.rejection.reason, "the record was not accepted, and cannot be held now",
                                     error.rejection.message, error.rejection.field, retry=True)))
            return
        except Exception:  # noqa: BLE001 - a mistake of ours: whoever asked hears of it all the same
            _log.exception("a record could not be read")
            done(503, encode(problem(503, "malformed", "the record could not be read", retry=True)))
            return
        now, name = self.clock.now(), self._contract.event_ids([event])[0]
        if (held := self.spill.held.get(name)) is not None:  # its first decision is the answer
            done(200, encode(self._answer(held)))
            return
        record = SpilledRecord(name, raw, why[:200], now, now, str(self._default))

        def written(durable: bool) -> None:
            if durable:
                self.spilled += 1
                done(200, encode(self._answer(record)))
            else:
                self.refused += 1
                done(503, encode(problem(503, "ledger", "neither the ledger nor the file beside it can be written", retry=True)))

        self.spill.add(record, written)

    def _plausible(self, event: Any) -> None:
        """What the ledger's contract asks beyond types. Raises `RejectionError`."""
        times = self._columns.times([event])
        bad = self._columns.suspicious(self._columns.numbers([event], times), times, self.clock.now())
        if bad:
            raise RejectionError(bad[0])

    def _answer(self, record: SpilledRecord) -> Answer:
        return Answer(record.id, None, record.action, record.quantity, dict.fromkeys(self.pilot.outputs), (), DEFAULT,
                      [f"{SPILLED}: {record.why}", DEFAULT], None, self.pilot.digest, iso(record.decided))

    def _told_already(self, raw: bytes) -> Answer | None:
        try:
            name = self._contract.event_ids([self._contract.read(raw)])[0]
        except RejectionError:
            return None
        held = self.spill.held.get(name)
        return None if held is None else self._answer(held)

    async def take_in(self) -> None:
        """Bring what was spilled into the ledger whenever its shard is well; runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            by_shard: dict[int, list[SpilledRecord]] = {}
            for record in list(self.spill.held.values())[: 8 * _AT_ONCE]:
                by_shard.setdefault(self._shard_of(record.raw) if len(self.links) > 1 else 0, []).append(record)
            for shard, records in by_shard.items():
                link, part = self.links[shard], records[:_AT_ONCE]
                if link.state is None or link.open:
                    continue
                status, body = await link.call(wire.SPILL, [msgspec.msgpack.encode(record) for record in part], 10.0)
                if status == 200:
                    self.spill.taken(part)
                else:
                    _log.warning("spilled decisions wait: %s", body.decode(errors="replace"))


class Gather:
    """Puts the parts of an array together."""

    def __init__(self, n: int, done: Done) -> None:
        self._made: list[Any] = [None] * n
        self._left, self._done = n, done

    def part(self, places: list[int]) -> Done:
        """Takes an array that answers these places, or a problem that answers all of them."""
        def back(status: int, body: bytes) -> None:
            self._put(places, _RAWS(body) if status == 200 else [msgspec.Raw(body)] * len(places))

        return back

    def one(self, place: int) -> Done:
        """Takes the answer of one place."""
        return lambda _, body: self._put([place], [msgspec.Raw(body)])

    def _put(self, places: list[int], made: Sequence[Any]) -> None:
        for place, answer in zip(places, made, strict=True):
            self._made[place] = answer
        self._left -= len(places)
        if self._left == 0:
            self._done(200, encode(self._made))


def _text_of(read: Callable[[bytes], Any], raw: bytes, field: str) -> str:
    """A field of a record as text; '' when it cannot be read: the first shard will say what is wrong with it."""
    try:
        return str(getattr(read(raw), field))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
