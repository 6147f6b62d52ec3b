"""Events and outcomes of a partition in one order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flightworthy.decision.work import EVENT, OUTCOME
from flightworthy.integration.streams import Fetched
from flightworthy.operation.worker.buffers import Buffers, Places, Portion

NEVER = -(2**62)


def filled(events: list[int], outcomes: list[int], until: int = NEVER) -> Buffers:
    """Records stamped as given; each says its topic and its place there."""
    buffers = Buffers(until)
    for kind, stamps in ((EVENT, events), (OUTCOME, outcomes)):
        if stamps:
            buffers.add(Fetched(kind, 0, [b"%d:%d" % (kind, i) for i in range(len(stamps))], [10 * i for i in range(len(stamps))],
                                stamps))
    return buffers


def all_of(buffers: Buffers, size: int, drained: tuple[bool, bool] = (True, True)) -> list[Portion]:
    """Portions until there are no more."""
    out = []
    while (portion := buffers.portion(size, drained)) is not None:
        assert portion.raws
        out.append(portion)
    return out


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)), st.integers(1, 7))
def test_everything_leaves_once_in_the_order_of_the_brokers_time(events: list[int], outcomes: list[int], size: int) -> None:
    portions = all_of(filled(events, outcomes), size)
    raws = [raw for portion in portions for raw in portion.raws]
    for kind, stamps in ((b"0", events), (b"1", outcomes)):
        assert [raw for raw in raws if raw[:1] == kind] == [kind + b":%d" % i for i in range(len(stamps))]
    moved = {b"%d:%d" % (kind, i): max(stamps[: i + 1]) for kind, stamps in ((0, events), (1, outcomes)) for i in range(len(stamps))}
    order = [(moved[raw], raw[:1]) for raw in raws]
    assert order == sorted(order)  # an event before an outcome of the same time
    assert all(len(portion.raws) <= (1 if size == 1 else 2 * size) for portion in portions)  # the one that ends a process is found


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)), st.integers(1, 7), st.integers(1, 7))
def test_the_order_does_not_depend_on_how_much_is_taken_at_once(events: list[int], outcomes: list[int], one: int, other: int) -> None:
    first, second = ([raw for portion in all_of(filled(events, outcomes), size) for raw in portion.raws] for size in (one, other))
    assert first == second


def test_a_topic_waits_for_the_other_while_some_of_it_has_not_arrived() -> None:
    buffers = filled([1, 2, 9], [])
    assert buffers.portion(10, (True, False)) is None
    buffers.add(Fetched(OUTCOME, 0, [b"told"], [5], [4]))
    portion = buffers.portion(10, (True, False))
    assert portion is not None
    assert portion.raws == [b"0:0", b"0:1", b"told"]
    assert portion.kinds == [EVENT, EVENT, OUTCOME]
    assert portion.positions == (11, 6)
    assert buffers.portion(10, (True, False)) is None  # the event of time 9: an outcome before it may still come
    assert all_of(buffers, 10)[0].raws == [b"0:2"]


@given(st.lists(st.integers(0, 50), min_size=1), st.lists(st.integers(0, 50)), st.integers(1, 7), st.integers(0, 30))
def test_who_takes_over_goes_on_in_the_same_order(events: list[int], outcomes: list[int], size: int, after: int) -> None:
    undisturbed = [raw for portion in all_of(filled(events, outcomes), size) for raw in portion.raws]
    first, taken = filled(events, outcomes), list[Any]()
    for _ in range(after):
        if (portion := first.portion(size, (True, True))) is not None:
            taken += portion.raws
    second = Buffers(NEVER, (first.events.taken, first.outcomes.taken))
    for kind, stamps in ((EVENT, events), (OUTCOME, outcomes)):
        at = sum(raw[:1] == b"%d" % kind for raw in taken)
        if stamps[at:]:
            second.add(Fetched(kind, 0, [b"%d:%d" % (kind, i) for i in range(at, len(stamps))],
                               [10 * i for i in range(at, len(stamps))], stamps[at:]))
    assert taken + [raw for portion in all_of(second, size) for raw in portion.raws] == undisturbed


def test_an_outcome_waits_for_other_events_of_its_time() -> None:
    buffers = filled([1, 4], [2, 4, 8])
    first = buffers.portion(10, (False, False))
    assert first is not None
    assert first.raws == [b"0:0", b"1:0", b"0:1"]
    assert buffers.portion(10, (False, False)) is None
    buffers.add(Fetched(EVENT, 0, [b"0:2"], [20], [4]))
    buffers.add(Fetched(EVENT, 0, [b"0:3"], [30], [5]))
    assert [portion.raws for portion in all_of(buffers, 10, (False, False))] == [[b"0:2", b"1:1", b"0:3"]]


def test_positions_are_those_of_the_broker_also_where_offsets_have_gaps() -> None:
    buffers = Buffers(NEVER)
    buffers.add(Fetched(EVENT, 0, [b"a", b"b"], [3, 70], [1, 2]))
    portion = buffers.portion(1, (True, True))
    assert portion is not None
    assert portion.positions == (4, None)
    assert (buffers.portion(1, (True, True)) or portion).positions == (71, None)


def test_history_ends_within_no_portion() -> None:
    portions = all_of(filled([1, 2, 3, 4, 5], [], until=4), 10)
    assert [(portion.past, portion.raws) for portion in portions] == [(True, [b"0:0", b"0:1", b"0:2"]), (False, [b"0:3", b"0:4"])]
    assert not any(portion.past for portion in all_of(filled([1, 2, 3, 4, 5], [3]), 10))
    assert [portion.past for portion in all_of(filled([1, 2, 3, 4, 5], [2], until=4), 10)] == [True, True, False]


def test_a_place_is_topic_and_offset() -> None:
    places = Places(("payments/3", "told/3"), [EVENT, OUTCOME], [7, 9])
    assert [*places] == [("payments/3", 7), ("told/3", 9)]
    assert Places(("payments/3", ""), None, [7])[0] == ("payments/3", 7)
