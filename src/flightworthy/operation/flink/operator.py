"""The operator: what Flink calls, in a task manager."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyflink.common import Row, Types
from pyflink.common.time import Duration
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig

from flightworthy.ground.clock import SystemClock
from flightworthy.operation.flink.keyed import Tables
from flightworthy.operation.flink.parcel import unpack
from flightworthy.operation.flink.part import ALL, Course, Out, Part

_LINGER = 20  # milliseconds that records wait for company
_END = 2**53  # milliseconds: the time at which a stream that ends is told so
# Bytes cross into Java as text, one character each: of all types this is the only fast one that needs no pickle.
TEXT = "latin-1"
OUT = Types.ROW_NAMED(["what", "k", "v", "h"], [Types.INT(), Types.STRING(), Types.STRING(), Types.LIST(Types.STRING())])


@dataclass(frozen=True)
class Plan:
    """What a job is told, in plain values: it travels to the cluster. ``keep``: milliseconds after which entries go, 0: never;
    ``idle``: milliseconds without a record after which what waits for the other topic is decided, 0: never."""

    parcel: bytes
    parts: int
    sources: tuple[str, str]
    history_until: int
    entries: bool
    keep: int
    idle: int


class Bytes:
    """A map of Flink's state, of text, as a `Table` of bytes."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def get(self, key: Any) -> bytes | None:
        text = self._state.get(key)
        return None if text is None else text.encode(TEXT)

    def put(self, key: Any, value: bytes) -> None:
        self._state.put(key, value.decode(TEXT))

    def put_all(self, map: dict[Any, bytes]) -> None:
        self._state.put_all({key: value.decode(TEXT) for key, value in map.items()})

    def remove(self, key: Any) -> None:
        self._state.remove(key)

    def items(self) -> Iterator[tuple[Any, bytes]]:
        return ((key, text.encode(TEXT)) for key, text in self._state.items())


class Decide(KeyedProcessFunction):  # type: ignore[misc]
    """Keyed by partition. Records: kind, partition, offset, value; their timestamp is the broker's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def open(self, context: RuntimeContext) -> None:
        plan = self._plan
        pilot, models = unpack(plan.parcel)
        self._course = Course(pilot, models, SystemClock(), plan.parts, plan.sources, plan.history_until, plan.entries)
        kept = MapStateDescriptor("kept", Types.STRING(), Types.STRING())
        if plan.keep:
            kept.enable_time_to_live(StateTtlConfig.new_builder(Duration.of_millis(plan.keep)).build())
        self._tables = Tables(
            Bytes(context.get_map_state(kept)), *(Bytes(context.get_map_state(MapStateDescriptor(name, key, Types.STRING()))) for
                                                  name, key in (("own", Types.STRING()), ("early", Types.LONG()),
                                                                ("waiting", Types.LONG()))))
        group = context.get_metrics_group().add_group("flightworthy")
        self._counters = [group.counter(name) for name in ("decisions", "dead_letters", "entries")]
        self._parts: dict[int, Part] = {}
        self._heard: dict[int, int] = {}  # partition → when something came last, milliseconds
        self._due: set[int] = set()  # partitions that will be called

    def _part(self, number: int) -> Part:
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = Part(self._course, number, self._tables)
        return part

    def process_element(self, value: Any, context: Any) -> None:
        kind, number, offset, raw = value[0], value[1], value[2], value[3]
        part, timers = self._part(number), context.timer_service()
        part.add(kind, offset, context.timestamp() * 1000, (raw or "").encode(TEXT))
        self._heard[number] = now = timers.current_processing_time()
        if number not in self._due:
            self._due.add(number)
            timers.register_processing_time_timer(now + _LINGER)
            timers.register_event_time_timer(_END)

    def on_timer(self, timestamp: int, context: Any) -> Iterator[Row]:
        number, timers = context.get_current_key(), context.timer_service()
        part, now = self._part(number), timers.current_processing_time()
        quiet = 0 < self._plan.idle < now - self._heard.setdefault(number, now)
        alone = not self._plan.sources[1]
        mark = timers.current_watermark()
        for out in part.run(ALL if alone or quiet or mark >= _END else max(-ALL, mark * 1000)):
            self._counters[out.what].inc()
            yield _row(out)
        self._due.discard(number)
        if len(part) and mark < _END:
            self._due.add(number)
            timers.register_processing_time_timer(now + _LINGER)


def _row(out: Out) -> Row:
    message = out.message
    said = [value.decode(TEXT) for _, value in message.headers]
    return Row(out.what, message.key.decode(TEXT), message.value.decode(TEXT), said)
