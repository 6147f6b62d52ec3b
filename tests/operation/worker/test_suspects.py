"""Records that end whoever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import Block
from flightworthy.operation.worker.suspects import OF, SUSPECT, TRIES, Suspects

SOURCES = "payments/0", "frauds/0"


def test_batches_shrink_with_every_end_until_records_are_read_alone() -> None:
    sizes = [Suspects.after({TRIES: tries}, SOURCES, (5, 0)).size(8192) for tries in range(6)]
    assert sizes == [8192, 8192, 512, 32, 1, 1]


def test_a_takeover_counts_until_so_many_records_lie_behind() -> None:
    one = Suspects.after({TRIES: 2}, SOURCES, (0, 0))
    assert one.marks == {TRIES: 3}
    assert one.passed(19_999) == {}
    assert one.passed(1) == {TRIES: 0, SUSPECT: 0}
    assert one.size(8192) == 8192
    assert one.passed(100_000) == {}  # said once


@pytest.mark.parametrize(("kind", "place"), [(0, ("payments/0", 17)), (1, ("frauds/0", 17))])
def test_the_record_at_which_a_worker_ended_alone_is_condemned(kind: int, place: tuple[str, int], tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///ledger.db", base=tmp_path)
    Suspects.after({TRIES: 4}, SOURCES, (17, 17)).before(ledger, place)
    ledger.commit(Block(progress={TRIES: 5}))
    known = ledger.positions()
    ledger.close()
    at = [3, 3]
    at[kind] = 17
    after = Suspects.after(known, SOURCES, at)
    assert after.condemned(place)
    assert not after.condemned((place[0], 18))
    assert not after.condemned((SOURCES[1 - kind], 17))
    assert not Suspects.after(known, SOURCES, (18, 18)).condemned((place[0], 18))  # it was read: the worker ended elsewhere
    assert Suspects.after(known, SOURCES, (None, None)).condemned(place)  # the first of a topic whose beginning is gone
    assert not Suspects.after({TRIES: 2, SUSPECT: 18, OF: kind}, SOURCES, at).condemned(place)  # not alone
