"""Time limits and breakers, and the adapters that fail on purpose."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flightworthy.adapters.faulty.factory import open_ledger
from flightworthy.adapters.faulty.faults import Faults, Misfortune
from flightworthy.adapters.faulty.runtime import FaultyPredictor
from flightworthy.decision.guard import Breaker, Guard, OpenError
from flightworthy.governance.ledger import Block, Entries
from flightworthy.governance.ledger_checks import CHECKS
from flightworthy.governance.ledger_checks import entries as made
from flightworthy.ground.clock import ManualClock, SystemClock
from flightworthy.ground.errors import AdapterError, LedgerError


def test_a_breaker_opens_rests_and_closes_by_one_success() -> None:
    clock = ManualClock()
    breaker = Breaker(clock, failures=3, rest=2.0)
    for _ in range(2):
        breaker.failed()
    assert breaker.allows() and breaker.closed
    breaker.failed()
    assert not breaker.allows() and not breaker.closed
    clock.at += 2_000_000
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.failed()
    clock.at += 1_999_999
    assert not breaker.allows()
    clock.at += 1
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.closed and breaker.allows()


def test_a_guard_passes_answers_and_errors_and_leaves_what_is_late() -> None:
    guard = Guard(0.1, Breaker(SystemClock(), failures=3, rest=60))
    assert guard.call(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        guard.call(lambda: 1 / 0)
    hold = threading.Event()
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="100 ms"):
        guard.call(hold.wait)
    assert time.monotonic() - started < 1
    assert guard.call(lambda: "the next thread") == "the next thread"
    for _ in range(3):
        with pytest.raises(TimeoutError):
            guard.call(hold.wait)
    with pytest.raises(OpenError):
        guard.call(lambda: "not asked")
    hold.set()


def test_threads_that_never_come_back_are_bounded() -> None:
    guard, hold = Guard(0.01, Breaker(SystemClock(), failures=1000)), threading.Event()
    seen = []
    for _ in range(10):
        with pytest.raises((TimeoutError, OpenError)) as caught:
            guard.call(hold.wait)
        seen.append(caught.type)
    assert seen == [TimeoutError] * 4 + [OpenError] * 6
    hold.set()
    time.sleep(0.1)
    assert guard.call(lambda: 1) == 1


def test_faults_are_declared_and_mistakes_in_them_explained() -> None:
    read = Faults.read("latency=0.1:50ms&error=0.2&hang=0.3:2s&partial=0.4&lost=0.5&flap=2s:1s&only=a,b&seed=9&file=f", "")
    assert read == Faults((0.1, 0.05), 0.2, (0.3, 2.0), 0.4, 0.5, (2.0, 1.0), frozenset({"a", "b"}), 9, "f")
    for words, said in (("eror=1", "did you mean 'error'"), ("error=2", "between 0 and 1"), ("latency=0.1", "duration")):
        with pytest.raises(AdapterError, match=said):
            Faults.read(words, "here")


def test_the_same_seed_strikes_the_same_calls_and_a_file_turns_faults_on_and_off(tmp_path: Path) -> None:
    def struck(seed: int) -> list[str]:
        fate = Misfortune(f"partial=0.3&lost=0.3&seed={seed}", "x", None)
        return [fate.before("commit") for _ in range(50)]

    assert struck(1) == struck(1) != struck(2) and set(struck(1)) == {"", "partial", "lost"}
    slept: list[float] = []
    now = [0.0]
    fate = Misfortune("file=faults", "x", tmp_path, clock=lambda: now[0], sleep=slept.append)
    assert fate.before("commit") == ""
    (tmp_path / "faults").write_text("flap=2s:1s&latency=1:10ms&only=commit")
    fate.before("find")
    fate.before("commit")
    now[0] = 2.5
    with pytest.raises(AdapterError, match="a declared fault: down in commit") as caught:
        fate.before("commit")
    assert caught.value.retryable and slept == [0.01, 0.01]
    now[0] = 3.5
    fate.before("commit")
    (tmp_path / "faults").unlink()
    assert fate.before("commit") == "" and len(slept) == 3


def entries(first: int, n: int) -> Entries:
    return Entries.of(made(first, n))


def test_a_ledger_that_fails_in_part_keeps_its_promises_otherwise(tmp_path: Path) -> None:
    for check in CHECKS:
        check(lambda name=check.__name__: open_ledger(f"faulty+sqlite:///{name}.db?error=0", tmp_path))
    ledger = open_ledger("faulty+sqlite:///p.db?partial=1", tmp_path)
    with pytest.raises(LedgerError, match="partial in commit"):
        ledger.commit(Block(entries(1, 4)))
    assert ledger.last() == 2
    ledger.close()
    ledger = open_ledger("faulty+sqlite:///p.db?lost=1", tmp_path)
    with pytest.raises(LedgerError, match="lost in commit"):
        ledger.commit(Block(entries(3, 2)))
    assert ledger.last() == 4 and [e.seq for e in ledger.scan()] == [1, 2, 3, 4]
    ledger.close()


def test_a_runtime_that_answers_in_part_gives_no_number_for_the_rest() -> None:
    class Twice:
        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(x[:, 0] * 2)

    answer = FaultyPredictor(Twice(), Misfortune("partial=1", "x", None)).predict(np.ones((4, 1)))
    assert answer[:2].tolist() == [2, 2] and np.isnan(answer[2:]).all()
    with pytest.raises(AdapterError):
        FaultyPredictor(Twice(), Misfortune("error=1", "x", None)).predict(np.ones((4, 1)))
