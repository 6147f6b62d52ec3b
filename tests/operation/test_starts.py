"""Processes in reserve: used when a shard dies, replaced when they died themselves, gone with the front."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flightworthy.operation.service import wire
from flightworthy.operation.service.starts import Home, Starts, end
from tests.conftest import PILOTS, Trained

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture
def starts(starter_trained: Trained, tmp_path: Path) -> Iterator[Starts]:
    var = tmp_path / "var"
    shutil.copytree(starter_trained.var, var)
    made = Starts(Home(PILOTS / "starter", var, var / "models"))
    yield made
    made.close()


def first_word(link: socket.socket) -> wire.Told:
    """What a process says once it can answer."""
    link.settimeout(60)
    frames: list[Any] = []
    reader = wire.Frames()
    while not frames:
        part = link.recv(1 << 16)
        assert part, "it ended"
        frames += reader.feed(part)
    return wire.answers(frames[0]).told[0]


def loaded(pid: int) -> bool:
    """Whether it waits with all code loaded."""
    return "libllvmlite" in Path(f"/proc/{pid}/maps").read_text() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "S"


def test_one_in_reserve_begins_sooner_and_leaves_the_rooms_alone_until_then(starts: Starts) -> None:
    took = []
    process, link = starts.begin()
    began = time.monotonic()
    assert first_word(link).status == 200
    took.append(time.monotonic() - began)
    starts.reserve()
    assert starts._reserve is not None
    reserve = starts._reserve[0].pid
    starts.reserve()
    assert starts._reserve[0].pid == reserve  # one is enough
    until = time.monotonic() + 60
    while not loaded(reserve):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1.0)
    link.close()
    end(process)  # the lock of the rooms is free again
    process, link = starts.begin()
    assert process.pid == reserve
    began = time.monotonic()
    assert first_word(link).status == 200
    took.append(time.monotonic() - began)
    assert took[1] < took[0]
    link.close()
    process.wait(30)  # who is alone leaves


def test_a_reserve_that_died_is_passed_over_and_one_without_a_front_ends(starts: Starts) -> None:
    starts.reserve()
    assert starts._reserve is not None
    os.kill(starts._reserve[0].pid, signal.SIGKILL)
    starts._reserve[0].wait()
    process, link = starts.begin()
    assert first_word(link).status == 200
    starts.reserve()
    waiting, other = starts._reserve  # type: ignore[misc]
    starts._reserve = None
    other.close()
    assert waiting.wait(60) == 0
    link.close()
    process.wait(30)
