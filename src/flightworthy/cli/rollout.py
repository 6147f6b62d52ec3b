"""Commands about rollouts."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flightworthy.cli.people import engines
from flightworthy.cli.pilots import parts, rooms, say
from flightworthy.cli.service import call
from flightworthy.cli.service import span as seconds
from flightworthy.decision.course import ABORT, PROMOTE, Course
from flightworthy.decision.engine import Engine
from flightworthy.decision.line import Line
from flightworthy.decision.rollout import acts, describe, roll_all
from flightworthy.decision.rollout import approve as approval
from flightworthy.decision.rooms import Rooms
from flightworthy.ground.clock import SystemClock, iso
from flightworthy.ground.errors import LedgerError
from flightworthy.manifest.load import load
from flightworthy.operation.stream import StreamReport
from flightworthy.operation.watching import Look, Watch
from flightworthy.operation.watching import describe as say_gate


def step(target: str, name: str, why: str, var: Path | None, model: str = "") -> None:
    """On every shard; what each did is printed."""
    if target.startswith(("http://", "https://")):
        for told in call(target, "/v1/rollout", "PUT", {"step": name, "why": why, "model": model}):
            say(f"{told['rollout']}; entry {told['entry']}, {told['at']}")
        return
    pilot = load(Path(target))
    with engines(pilot, var) as opened:
        for act in roll_all(opened, name, getpass.getuser(), why, model):
            say(f"{describe(Course.of(act.said), len(pilot.manifest.rollout.stages))}; entry {act.seq}, {iso(act.arrived)}")


def approve(target: str, number: int, why: str, var: Path | None) -> None:
    """On every shard."""
    if target.startswith(("http://", "https://")):
        for told in call(target, "/v1/rollout/approvals", "POST", {"rollout": number, "why": why}):
            say(f"rollout {told['rollout']} approved by {told['who']}; entry {told['entry']}, {told['at']}")
        return
    with engines(load(Path(target)), var) as opened:
        for act in [approval(engine, number, getpass.getuser(), why) for engine in opened]:
            say(f"rollout {number} approved by {act.who}; entry {act.seq}, {iso(act.arrived)}")


def watch(path: Path, service: str, every: str, var: Path | None) -> None:
    """Look again and again; print what changes. A ledger that cannot be read, or a service that is not there, is waited for."""
    pause = seconds(every) / 1e6
    pilot, shown = load(path), ""

    def take(step: str, at: Course, why: str) -> None:
        call(service, "/v1/rollout", "PUT", {"step": step, "why": why, "rollout": at.number,
                                             "stage": 0 if step == ABORT else at.stage + 1})

    with parts(pilot, var) as opened:
        models = Rooms.of(pilot, rooms(pilot, var)).models
        over = Watch(pilot, [(ledger, vault) for ledger, vault, _ in opened], models, take)
        while True:
            try:
                look = over.look()
            except LedgerError as error:
                sys.stderr.write(f"nothing is done while a ledger cannot be read: {error}\n")
                time.sleep(pause)
                continue
            told = "; ".join(f"{name} {verdict.state}" for name, verdict in look.gates.items())
            if told != shown:
                say(f"{iso(SystemClock().now())}  {told}" + (f"; waits for: {'; '.join(look.waits)}" if look.open else ""))
                shown = told
            _tell(look)
            if not look.step and not look.open:
                say("no rollout is under way")
            if look.step in (ABORT, PROMOTE) or not look.open:
                return
            time.sleep(pause)


def beside(engine: Engine) -> Callable[[StreamReport], None]:
    """Looks after each batch of a stream, and takes the steps there."""

    def take(step: str, _: Course, why: str) -> None:
        roll_all([engine], step, "watch", why)

    over = Watch(engine.pilot, [(engine.ledger, engine.vault)], engine.models_folder, take)

    def look(_: StreamReport) -> None:
        if engine.course().open:
            _tell(over.look())

    return look


def _tell(look: Look) -> None:
    if look.step:
        for name, verdict in look.gates.items():
            say(f"{'rolled back' if look.rolled_back else look.step}; {say_gate(name, verdict)}")


def status(target: str, var: Path | None) -> None:
    """Of every shard."""
    if target.startswith(("http://", "https://")):
        for told in call(target, "/v1/rollout", "GET", None):
            say(told["rollout"])
        return
    pilot = load(Path(target))
    with parts(pilot, var) as opened:
        for ledger, vault, _ in opened:
            done = acts(Line(pilot, {}, vault), ledger)
            say(describe(Course.of(done[-1].said) if done else Course(), len(pilot.manifest.rollout.stages)))


def history(path: Path, var: Path | None, as_json: bool) -> None:
    """Of every shard, by time."""
    pilot = load(path)
    with parts(pilot, var) as opened:
        done = [act for ledger, vault, _ in opened for act in acts(Line(pilot, {}, vault), ledger)]
    for act in sorted(done, key=lambda act: act.arrived):
        course, stages = Course.of(act.said), len(pilot.manifest.rollout.stages)
        say(json.dumps({"at": iso(act.arrived), "entry": act.seq, "who": act.who, **act.said}) if as_json else
            f"{iso(act.arrived)}  {act.seq:>10,}  {act.said['step']:<8} {describe(course, stages)}  by {act.who}: " +
            act.said["why"].replace("\n", "; "))
