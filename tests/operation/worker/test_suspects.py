"""Records that end whoever reads them."""

from __future__ import annotations

from pathlib import Path

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.ledger import Block
from flightworthy.operation.worker.suspects import SUSPECT, TRIES, Suspects


def test_batches_shrink_with_every_end_until_records_are_read_alone() -> None:
    sizes = [Suspects.after({TRIES: tries}, 5).size(8192) for tries in range(6)]
    assert sizes == [8192, 8192, 512, 32, 1, 1]


def test_a_takeover_counts_until_so_many_records_lie_behind() -> None:
    one = Suspects.after({TRIES: 2}, 0)
    assert one.marks == {TRIES: 3}
    assert one.passed(19_999) == {}
    assert one.passed(1) == {TRIES: 0, SUSPECT: 0}
    assert one.size(8192) == 8192
    assert one.passed(100_000) == {}  # said once


def test_the_record_at_which_a_worker_ended_alone_is_condemned(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///ledger.db", base=tmp_path)
    Suspects.after({TRIES: 4}, 17).before(ledger, ("payments/0", 17))
    ledger.commit(Block(progress={TRIES: 5}))
    after = Suspects.after(ledger.positions(), 17)
    assert after.condemned(("payments/0", 17))
    assert not after.condemned(("payments/0", 18))
    assert not Suspects.after(ledger.positions(), 18).condemned(("payments/0", 18))  # it was read: the worker ended elsewhere
    assert not Suspects.after({TRIES: 2, SUSPECT: 18}, 17).condemned(("payments/0", 17))  # not alone
    ledger.close()
