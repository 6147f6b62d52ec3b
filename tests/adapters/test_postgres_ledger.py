"""The PostgreSQL ledger keeps the contract of all ledgers, and its own promises."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from services.postgres import Postgres, postgres_programs
from services.proxy import Proxy

from flightworthy.adapters.postgres import migrate
from flightworthy.adapters.postgres.factory import open_ledger
from flightworthy.adapters.postgres.ledger import PostgresLedger
from flightworthy.governance.ledger import ACT, Block, Entries, Ledger
from flightworthy.governance.ledger_checks import CHECKS, entries, held
from flightworthy.governance.log.store import Published
from flightworthy.ground.clock import ManualClock
from flightworthy.ground.errors import AdapterError, LedgerError

pytestmark = [pytest.mark.server, pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")]
_schemas = count(1)


@pytest.fixture
def open_(server: Postgres) -> Iterator[Callable[..., PostgresLedger]]:
    """Opens the same, initially empty ledger again and again."""
    schema, opened = f"s{next(_schemas)}", []

    def open_(**options: bool) -> PostgresLedger:
        opened.append(open_ledger(server.url(schema), **options))
        return opened[-1]

    yield open_
    for ledger in opened:
        ledger.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_contract_of_ledgers(check: Callable[[Callable[[], Ledger]], None], open_: Callable[..., PostgresLedger]) -> None:
    check(open_)


@pytest.mark.parametrize("how", ["unheard", "half", "unanswered"])
@pytest.mark.parametrize("what", ["decisions", "all kinds", "checkpoint", "read"])
def test_a_line_that_breaks_loses_and_doubles_nothing(server: Postgres, open_: Callable[..., PostgresLedger], what: str, how: str,
                                                      ) -> None:
    plain = open_()
    plain.commit(Block(Entries.of(entries(1, 70))))
    proxy = Proxy(server.port)
    broken = open_ledger(f"postgresql://flightworthy:{server.password}@127.0.0.1:{proxy.port}/postgres?schema={plain._link.schema}")
    broken.commit(Block(Entries.of(entries(71, 1))))
    broken.last()
    proxy.cut = how
    if what == "decisions":
        broken.commit(Block(Entries.of(entries(72, 100)), progress={"file": 9}))
        assert (plain.last(), plain.progress("file")) == (171, 9)
        assert list(plain.scan(72)) == entries(72, 100)
    elif what == "all kinds":
        broken.commit(Block(Entries.of(entries(72, 100, ACT)), [held(1), held(2)]))
        assert list(plain.scan(72)) == entries(72, 100, ACT)
        assert [q.position for q in plain.quarantine()] == [1, 2]
    elif what == "checkpoint":
        broken.log.publish([(1, 0, b"a" * 32)], Published(71, 1, b"note"))
        assert (list(plain.log.checkpoints()), plain.log.kept()) == ([Published(71, 1, b"note")], 1)
    else:
        assert broken.read([71]) == entries(71, 1)
    assert proxy.cuts == 1
    broken.close()
    proxy.close()


def test_writers_take_turns_and_who_does_not_is_refused(open_: Callable[..., PostgresLedger]) -> None:
    one, two, order = open_(), open_(), []

    def second() -> None:
        with two.turn() as last:
            order.append(("two", last))
            two.commit(Block(Entries.of(entries(4, 2))))

    with one.turn() as last, one.turn() as again:
        assert last == again == 0
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        with pytest.raises(LedgerError, match="did not let go in time") as late, open_().turn(0.1):
            pass
        assert late.value.retryable
        one.commit(Block(Entries.of(entries(1, 3))))
        order.append(("one", 3))
    thread.join(10)
    assert order == [("one", 3), ("two", 3)]
    with pytest.raises(LedgerError, match="do not continue") as refused:
        one.commit(Block(Entries.of(entries(4, 1))))
    assert not refused.value.retryable
    assert one.last() == 5


def test_a_turn_that_another_took_while_the_server_was_away_is_over(server: Postgres, open_: Callable[..., PostgresLedger]) -> None:
    one, two = open_(), open_()
    proxy = Proxy(server.port)
    one.close()
    one = open_ledger(f"postgresql://flightworthy:{server.password}@127.0.0.1:{proxy.port}/postgres?schema={two._link.schema}")
    with one.turn():
        proxy.close()
        proxy.cut = "unheard"
        turn = two._link.turn(math.inf)
        waiting = threading.Thread(target=turn.__enter__)
        waiting.start()
        with pytest.raises(LedgerError, match="PostgreSQL") as away:
            one.commit(Block(Entries.of(entries(1, 1))))
        assert away.value.retryable
        waiting.join(10)
        one._link._address = server.url(two._link.schema).partition("?")[0]
        with pytest.raises(LedgerError, match="another writer took over"):
            one.commit(Block(Entries.of(entries(1, 1))))
    turn.__exit__(None, None, None)
    one.close()


def test_who_hangs_keeps_nobody_waiting(open_: Callable[..., PostgresLedger], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is stopped, or whose machine is gone, is known to the server as one that says nothing."""
    monkeypatch.setattr("flightworthy.adapters.postgres.link._HUNG", 1)
    one, two = open_(), open_()
    with one.turn():
        with two.turn(20):
            two.commit(Block(Entries.of(entries(1, 2))))
            with pytest.raises(LedgerError, match="another writer took over"):
                one.commit(Block(Entries.of(entries(1, 1))))
        one.commit(Block(Entries.of(entries(3, 1))))  # it has the turn again, since nobody else has
        time.sleep(1.5)  # and hangs once more, on its new line
        with two.turn(20) as last:
            assert last == 3
    one.commit(Block(Entries.of(entries(4, 1))))
    time.sleep(1.5)
    writer = one._link._writer
    assert writer is not None
    assert not writer.is_closed()  # without a turn it may say nothing as long as it likes
    with one.turn(math.inf):
        time.sleep(1.5)
        with pytest.raises(LedgerError, match="did not let go in time"), two.turn(0.1):
            pass


def test_who_hangs_within_a_transaction_loses_it(open_: Callable[..., PostgresLedger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flightworthy.adapters.postgres.link._HUNG", 1)
    one, two, holds = open_(), open_(), threading.Event()

    async def hangs(writer: Any, again: bool) -> bool:
        async with writer.transaction():
            if not again:
                await writer.execute("UPDATE head SET last = last")
                holds.set()
                await asyncio.sleep(3)
            return again

    with ThreadPoolExecutor(1) as pool:
        tried = pool.submit(one._link.write, hangs)
        assert holds.wait(10)
        two.commit(Block(Entries.of(entries(1, 2))))
        assert not tried.done()
        assert tried.result(10)


def test_a_server_that_is_killed_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "own")
    ledger = open_ledger(server.url())
    ledger.commit(Block(Entries.of(entries(1, 70))))
    server.kill()
    back = threading.Timer(0.5, server.start)
    back.start()
    ledger.commit(Block(Entries.of(entries(71, 70))))
    assert list(ledger.scan()) == entries(1, 140)
    back.join()
    server.stop()
    with pytest.raises(LedgerError, match="PostgreSQL") as away:
        ledger.last()
    assert away.value.retryable
    ledger.close()
    with (server.folder / "postgresql.conf").open("a") as file:
        file.write("fsync = off\n")
    server.start()
    with pytest.raises(LedgerError, match="does not flush to the disk"):
        open_ledger(server.url())
    server.stop("immediate")


def test_the_schema_is_the_sum_of_its_migrations(server: Postgres, open_: Callable[..., PostgresLedger]) -> None:
    ledger = open_()
    dumped = [line for line in server.dump(ledger._link.schema).replace(ledger._link.schema, "flightworthy").splitlines()
              if line and not line.startswith(("--", "SET ", "SELECT ", "\\"))]
    kept = Path(__file__).parents[2] / "docs" / "postgres.sql"
    if os.environ.get("KEEP_SCHEMA"):
        kept.write_text("\n".join(dumped) + "\n")
    assert dumped == kept.read_text().splitlines(), "run with KEEP_SCHEMA=1, and look at what changed"


def test_old_code_runs_on_a_newer_schema_and_new_code_brings_an_old_one_up(open_: Callable[..., PostgresLedger],
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    old = migrate.files()[:1]
    monkeypatch.setattr(migrate, "files", lambda: old)
    before = open_()
    before.commit(Block(Entries.of(entries(1, 3)), [held(1)], {"file": 1}))
    monkeypatch.undo()
    now = open_()  # while the old one runs
    now.commit(Block(Entries.of(entries(4, 3)), [held(2)], {"file": 2}))
    before.commit(Block(Entries.of(entries(7, 3, ACT)), [held(3)], {"file": 3}))
    assert list(now.scan()) == [*entries(1, 6), *entries(7, 3, ACT)]
    monkeypatch.setattr(migrate, "files", lambda: old)
    assert open_().last() == 9
    assert open_(read_only=True).last() == 9


def test_segments_lie_in_the_partition_of_their_month(server: Postgres, open_: Callable[..., PostgresLedger]) -> None:
    ledger = open_()
    times = iter([datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)])
    ledger._clock = ManualClock(0)
    for first in (1, 2, 3):
        ledger._clock = ManualClock(int(next(times).timestamp() * 1e6))
        ledger.commit(Block(Entries.of(entries(first, 1))))
    found = ledger._link.rows("SELECT tableoid::regclass::text, first FROM segment ORDER BY first")
    assert [tuple(row) for row in found] == [("segment_2026_11", 1), ("segment_2026_12", 2), ("segment_2028_02", 3)]
    assert list(ledger.scan()) == entries(1, 3)
    assert ledger.read([3, 1, 2]) == [entries(seq, 1)[0] for seq in (3, 1, 2)]


def test_what_cannot_be_opened_says_why_without_the_password(server: Postgres) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here"):
        open_ledger(server.url("nobody"), read_only=True)
    with pytest.raises(AdapterError, match="name cannot be used"):
        open_ledger(server.url("no;thing"))
    with pytest.raises(LedgerError, match="password authentication failed") as wrong:
        open_ledger(server.url().replace(server.password, "guessed"))
    assert "guessed" not in str(wrong.value)
    reader = open_ledger(server.url("mine"))
    reader.close()
    reader = open_ledger(server.url("mine"), read_only=True)
    for act in (lambda: reader.commit(Block(Entries.of(entries(1, 1)))), lambda: reader.log.publish([], Published(1, 1, b"")),
                lambda: reader.log.countersign(1, b"")):
        with pytest.raises(LedgerError, match="for reading only"):
            act()
    reader.close()


def test_shards_have_schemas_of_their_own(server: Postgres, tmp_path: Path) -> None:
    ledger = open_ledger(server.url("fraud"), tmp_path / "shard-1")
    assert ledger._link.schema == "fraud_shard_1"
    ledger.close()


def test_ids_may_hold_what_a_text_may_not(open_: Callable[..., PostgresLedger]) -> None:
    ledger = open_()
    strange = [e._replace(key="a\x00b" if e.seq == 1 else "ä\U0001f600") for e in entries(1, 2)]
    odd = replace(held(1), field="f\x00", message="\x00 is no name")
    ledger.commit(Block(Entries.of(strange), [odd]))
    assert ledger.find(["a\x00b", "ä\U0001f600"]) == {"a\x00b": 1, "ä\U0001f600": 2}
    assert (ledger.quarantine()[0].field, ledger.quarantine()[0].message) == ("f\x00", "\x00 is no name")


def test_an_id_that_someone_put_there_and_is_no_text_is_said(open_: Callable[..., PostgresLedger]) -> None:
    ledger = open_()
    ledger.commit(Block(Entries.of(entries(1, 2))))

    async def forge(writer: Any, _: bool) -> None:
        await writer.execute("INSERT INTO event VALUES ('\\xff', 2)")

    ledger._link.write(forge)
    with pytest.raises(LedgerError, match="no text"):
        list(ledger.events(1, 2))


@pytest.mark.timeout(60)
def test_who_still_reads_when_a_ledger_is_closed_hears_of_it(open_: Callable[..., PostgresLedger]) -> None:
    """A worker whose partition is gone closes its ledger, whatever another thread asks it at that moment."""
    for _ in range(15):
        ledger, heard, begun = open_(), list[str](), threading.Barrier(4)

        def read(ledger: PostgresLedger = ledger, heard: list[str] = heard, begun: threading.Barrier = begun) -> None:
            begun.wait()
            try:
                while True:
                    ledger.quarantine("held", 0, 500)
                    ledger.last()
            except LedgerError as error:
                heard.append(str(error))

        readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
        for reader in readers:
            reader.start()
        begun.wait()
        ledger.close()
        ledger.close()
        for reader in readers:
            reader.join(8)
        assert len(heard) == 3
        assert all("closed" in said for said in heard)
    with pytest.raises(LedgerError, match="closed"):
        ledger.last()
