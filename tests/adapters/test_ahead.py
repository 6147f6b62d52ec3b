"""What is written ahead is found again whatever the moment of the end, and nothing else is."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from flightworthy.adapters.sqlite import ahead
from flightworthy.adapters.sqlite.ahead import Ahead, HeldError, left, names
from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.governance.ledger import ACT, OUTCOME, Block, Entries
from flightworthy.governance.ledger_checks import entries
from flightworthy.ground.errors import LedgerError

WRITER = """
import sys, time
from pathlib import Path
from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.governance.ledger import Block, Entries
from flightworthy.governance.ledger_checks import entries
ledger, seq = SqliteLedger(Path(sys.argv[1])), 1
while True:
    ledger.commit(Block(Entries.of(entries(seq, 20))))
    seq += 20
    print(seq - 1, flush=True)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "l.db").touch()
    return tmp_path / "l.db"


def some(first: int, n: int) -> Entries:
    return Entries.of(entries(first, n))


def numbers(path: Path, last: int = 0) -> list[int]:
    return [entry.seq for block in left(path, lambda: last) for entry in block]


def test_records_come_back_and_what_the_tables_have_does_not(place: Path) -> None:
    files = Ahead(place)
    assert numbers(place) == []
    files.append(some(1, 3))
    files.append(some(4, 2))
    assert [list(block) for block in left(place, lambda: 0)] == [entries(1, 3), entries(4, 2)]
    files.turn()
    files.append(some(6, 1))
    assert numbers(place) == [1, 2, 3, 4, 5, 6] and numbers(place, 5) == [6]
    files.turn()  # the tables have five: their file is written again
    files.append(some(7, 1))
    assert numbers(place, 5) == [6, 7]
    files.clear()
    assert numbers(place, 5) == []
    files.close()


def test_half_a_record_is_nothing_at_every_length(place: Path) -> None:
    files = Ahead(place)
    files.append(some(1, 3))
    files.append(some(4, 3))
    size, data = files._at, names(place)[0].read_bytes()
    files.turn()
    files.turn()
    files.append(some(7, 2))  # over the first; behind it lies the rest of what was there
    files.close()
    assert numbers(place, 6) == [7, 8]
    for end in range(len(ahead._record(some(1, 3))), size):
        names(place)[0].write_bytes(data[:end] + bytes(len(data) - end))
        assert numbers(place) == [1, 2, 3], end
    over = names(place)[0]
    record = ahead._record(some(7, 4))
    for end in range(len(record)):  # written over older ones, and not to its end
        over.write_bytes(record[:end] + data[end:])
        assert numbers(place, 6) == [], end


def test_damage_before_a_whole_record_is_an_error_and_never_the_end(place: Path) -> None:
    files = Ahead(place)
    sizes = []
    for first in (1, 4, 7):
        files.append(some(first, 3))
        sizes.append(files._at)
    files.close()
    data = bytearray(names(place)[0].read_bytes())
    for at in range(sizes[1]):
        data[at] ^= 0x10
        names(place)[0].write_bytes(data)
        with pytest.raises(LedgerError, match="altered or the disk is failing"):
            numbers(place)
        data[at] ^= 0x10
    names(place)[0].write_bytes(data)
    assert numbers(place) == list(range(1, 10))
    names(place)[0].rename(names(place)[1])
    with pytest.raises(LedgerError, match="entries are missing"):
        files = Ahead(place)
        files.append(some(11, 1))
        files.close()
        numbers(place)


def test_one_writer_at_a_time_and_the_next_takes_over(place: Path) -> None:
    one = Ahead(place)
    with pytest.raises(HeldError) as caught:
        Ahead(place)
    assert caught.value.retryable
    one.close()
    Ahead(place).close()
    place.unlink()
    with pytest.raises(FileNotFoundError):
        Ahead(place)


def killed(ledger: SqliteLedger, to: Path) -> Path:
    """What the disk would hold if the process ended now."""
    for file in ledger.path.parent.glob(f"{ledger.path.name}*"):
        shutil.copy(file, to / file.name)
    return to / ledger.path.name


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves by itself."""
    monkeypatch.setattr("flightworthy.adapters.sqlite.upkeep.Upkeep.committed", lambda self: None)


@pytest.mark.usefixtures("still")
def test_what_is_ahead_answers_every_question(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    told = [e._replace(kind=OUTCOME, key="event-1") for e in entries(4, 2)]
    acts = [e._replace(kind=ACT, key="switch") for e in entries(6, 1)]
    everything = [*entries(1, 3), *told, *acts, *entries(7, 2)]
    for part in (everything[:3], everything[3:5], everything[5:7], everything[7:]):
        ledger.commit(Block(Entries.of(part)))
    reader = SqliteLedger(tmp_path / "l.db", read_only=True)
    for moved in range(3):
        for asked in (ledger, reader):
            assert list(asked.scan()) == everything and list(asked.scan(3, (OUTCOME,))) == told
            assert asked.read([8, 1, 5]) == [everything[7], everything[0], told[1]] and asked.read([]) == []
            assert asked.find(["event-1", "event-8", "none"]) == {"event-1": 1, "event-8": 8} and asked.find([]) == {}
            assert asked.newest(OUTCOME, ["event-1", "event-2"]) == {"event-1": 5} and asked.newest(ACT, ["switch"]) == {"switch": 6}
            assert asked.last() == 8
            with pytest.raises(LedgerError, match="no such entry"):
                asked.read([9])
        with pytest.raises(LedgerError, match="exists already"):
            ledger.commit(Block(Entries.of([e._replace(key="event-2") for e in entries(9, 1)])))
        with pytest.raises(LedgerError, match="exists already"):
            ledger.commit(Block(Entries.of([e._replace(key="twice") for e in entries(9, 2)])))
        if moved == 0:
            ledger._move()
            assert not any(ledger._pending)
    reader.close()
    ledger.close()


@pytest.mark.usefixtures("still")
def test_an_end_at_every_step_of_moving_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    shots: list[tuple[Path, int]] = []

    def shoot() -> None:
        folder = tmp_path / f"end-{len(shots)}"
        folder.mkdir()
        shots.append((killed(ledger, folder), len(acknowledged)))

    acknowledged: list[Any] = []
    for name, cls in (("turn", Ahead), ("append", Ahead), ("write", type(ledger._tables))):
        real = getattr(cls, name)

        def around(self: Any, *given: Any, real: Any = real) -> None:
            shoot()
            real(self, *given)
            shoot()

        monkeypatch.setattr(cls, name, around)
    for first in range(1, 25, 3):
        ledger.commit(Block(some(first, 3)))
        acknowledged += entries(first, 3)
        if first % 2:
            ledger._move()
    monkeypatch.undo()
    ledger.close()
    assert len(shots) > 30
    for path, count in shots:
        reader = SqliteLedger(path, read_only=True)
        seen = list(reader.scan())
        reader.close()
        again = SqliteLedger(path)
        assert list(again.scan()) == seen and again.last() == len(seen) >= count
        assert seen == entries(1, len(seen))
        again.commit(Block(some(len(seen) + 1, 2)))
        again.close()


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("call", ["pwrite", "_flush"])
def test_a_disk_that_refuses_to_write_ahead_leaves_it_to_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    ledger.commit(Block(some(1, 2)))

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(*((os, call) if call == "pwrite" else (ahead, call)), refuse)
        ledger.commit(Block(some(3, 2)))
        assert not any(ledger._pending)
    ledger.commit(Block(some(5, 2)))
    assert list(ledger._pending[1]) == entries(5, 2)
    (tmp_path / "end").mkdir()
    path = killed(ledger, tmp_path / "end")
    ledger.close()
    again = SqliteLedger(path)
    assert list(again.scan()) == entries(1, 6)
    again.close()


def test_another_process_sees_all_that_is_acknowledged_at_any_moment(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "l.db")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            said = [int(writer.stdout.readline())]

            def listen() -> None:
                said.extend(int(line) for line in writer.stdout or ())

            heard = threading.Thread(target=listen, daemon=True)
            heard.start()
            reader = SqliteLedger(tmp_path / "l.db", read_only=True)
            while said[-1] < 8000:
                acknowledged = said[-1]
                assert reader.last() >= acknowledged
                assert reader.find([f"event-{acknowledged}"]) == {f"event-{acknowledged}": acknowledged}
                assert reader.read([acknowledged])[0].seq == acknowledged
                assert [entry.seq for entry in reader.scan(acknowledged - 10)][:11] == list(range(acknowledged - 10, acknowledged + 1))
        finally:
            writer.kill()
    heard.join(10)
    assert reader.last() >= said[-1]
    reader.close()
    ledger = SqliteLedger(tmp_path / "l.db")
    assert ledger.last() >= said[-1] and list(ledger.scan()) == entries(1, ledger.last())
    ledger.close()
