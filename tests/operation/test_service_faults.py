"""The service while something is broken: killed, hanging, failing; and what is in its ledger afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.decision.replay import replay
from flightworthy.governance.ledger import ACT, DECISION
from flightworthy.manifest.load import load
from tests.conftest import Trained
from tests.operation.running import Service, exists

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
DEFAULT = ("fallback: [previous, baseline]", "fallback: [previous, baseline, {then: wait}]")
Start = Callable[..., Service]


def ledger_of(service: Service, shard: str = "") -> Any:
    return open_ledger("sqlite:///ledger.db", service.var / shard, read_only=True)


def decided(service: Service) -> dict[str, int]:
    """Event id → how many decisions it has."""
    ledger = ledger_of(service)
    found: dict[str, int] = {}
    for entry in ledger.scan(1, (DECISION,)):
        found[entry.key] = found.get(entry.key, 0) + 1
    ledger.close()
    return found


def mismatches(service: Service) -> int:
    ledger = ledger_of(service)
    report = replay(load(service.pilot), ledger, service.var / "models")
    ledger.close()
    return report.mismatches


def good(starter_trained: Trained, count: int, skip: int = 0) -> list[bytes]:
    """Lines that the contract takes."""
    lines = [line for line in starter_trained.lines("live", 2000) if line.startswith(b"{") and line.endswith(b"}")]
    fine = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row.get("amount"), float) and 0 < row["amount"] < 1000 and isinstance(row.get("invoice"), str):
            fine.append(line)
    names: set[str] = set()
    unique = [line for line in fine if not (json.loads(line)["invoice"] in names or names.add(json.loads(line)["invoice"]))]
    return unique[skip : skip + count]


def with_faults(kind: str) -> str:
    url = {"ledger": "faulty+sqlite:///ledger.db?file=faults", "runtime": "faulty+inprocess:?file=faults"}[kind]
    return f"adapters: {{{kind}: '{url}'}}\n"


def test_a_killed_shard_is_replaced_and_every_event_is_decided_once(start: Start, starter_trained: Trained) -> None:
    service, lines = start(), good(starter_trained, 300)
    answers: dict[int, list[Any]] = {}

    def caller(part: range) -> None:
        for i in part:
            while True:
                try:
                    status, said = service.call("POST", "/v1/decisions", lines[i])
                except OSError:
                    continue
                answers.setdefault(i, []).append((status, said))
                if status != 503:
                    break
                time.sleep(0.05)

    callers = [threading.Thread(target=caller, args=(range(k, 300, 3),)) for k in range(3)]
    for thread in callers:
        thread.start()
    for _ in range(2):
        time.sleep(0.2)
        for pid in service.shards():
            os.kill(pid, signal.SIGKILL)
        service.wait()
    for thread in callers:
        thread.join()
    final = {i: said[-1] for i, said in answers.items()}
    accepted = {said["id"] for status, said in final.values() if status == 200}
    again = {i: service.call("POST", "/v1/decisions", lines[i]) for i in range(0, 300, 20)}
    assert {i: answer for i, answer in final.items() if i in again and answer[0] == 200} == {
        i: answer for i, answer in again.items() if final[i][0] == 200}
    assert "flightworthy_shard_restarts_total 2.0" in service.call("GET", "/metrics")[1]
    assert service.stop() == 0
    found = decided(service)
    assert accepted <= found.keys() and set(found.values()) == {1}
    assert mismatches(service) == 0


def spilling(start: Start, more: str = "", manifest: str = "service: {deadline: 400ms, ledger_down: spill}\n") -> Service:
    service: Service = start(manifest + more, change=DEFAULT)
    return service


def test_spilled_decisions_reach_the_ledger_once(start: Start, starter_trained: Trained) -> None:
    service, lines = spilling(start), good(starter_trained, 40)
    assert service.call("POST", "/v1/decisions", lines[0])[1]["decision"] == 1
    pid = service.shards()[0]
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    status, said = service.call("POST", "/v1/decisions", lines[1])
    assert (status, said["decision"], said["action"], said["by"], said["path"]) == (
        200, None, "wait", "default", ["spilled: no answer in time", "default"])
    assert time.monotonic() - started < 0.4
    again = service.call("POST", "/v1/decisions", lines[1])
    assert again == (200, said)
    status, many = service.call("POST", "/v1/decisions", b"[" + b",".join(lines[2:6]) + b"]")
    assert status == 200 and {one["by"] for one in many} == {"default"}
    assert service.call("POST", "/v1/decisions", b"[" + b",".join(lines[1:6]) + b"]") == (200, [said, *many])
    assert service.call("POST", "/v1/outcomes", b'{"invoice":"x","late":true}')[0] == 503
    assert "flightworthy_spilled_total 5.0" in service.call("GET", "/metrics")[1]
    assert service.call("GET", "/health/ready")[0] == 503
    os.kill(pid, signal.SIGCONT)
    for _ in range(200):
        if "flightworthy_spill_records 0.0" in service.call("GET", "/metrics")[1]:
            break
        time.sleep(0.05)
    status, now = service.call("POST", "/v1/decisions", lines[1])
    assert (status, now["action"], now["path"], now["decided"]) == (200, "wait", said["path"], said["decided"])
    assert now["decision"] is not None
    service.wait()
    assert service.stop() == 0
    assert set(decided(service).values()) == {1} and len(decided(service)) == 6
    assert mismatches(service) == 0
    assert (service.var / "spill.ndjson").read_bytes() == b""


def test_what_was_spilled_survives_a_crash_of_everything(start: Start, starter_trained: Trained) -> None:
    service, lines = spilling(start), good(starter_trained, 10)
    pid = service.shards()[0]
    os.kill(pid, signal.SIGSTOP)
    said = service.call("POST", "/v1/decisions", lines[0])[1]
    service.process.kill()
    service.process.wait()
    os.kill(pid, signal.SIGKILL)
    with (service.var / "spill.ndjson").open("ab") as file:
        file.write(b'{"id":"torn","ra')  # a crash in the middle of a line
    again = spilling(start)
    for _ in range(200):
        answer = again.call("POST", "/v1/decisions", lines[0])[1]
        if answer["decision"] is not None:
            break
        time.sleep(0.05)
    assert (answer["action"], answer["path"], answer["decision"]) == (said["action"], said["path"], 1)
    assert "torn by a crash" in again.log()


def test_an_acknowledgement_that_was_lost_does_not_change_what_the_caller_was_told(start: Start, starter_trained: Trained) -> None:
    service, lines = spilling(start, with_faults("ledger")), good(starter_trained, 30)
    (service.var / "faults").write_text("lost=1&only=commit")
    told = {line: service.call("POST", "/v1/decisions", line)[1] for line in lines}
    assert {said["by"] for said in told.values()} == {"default"}
    (service.var / "faults").write_text("")
    for _ in range(200):
        if "flightworthy_spill_records 0.0" in service.call("GET", "/metrics")[1]:
            break
        time.sleep(0.05)
    for line, said in told.items():
        now = service.call("POST", "/v1/decisions", line)[1]
        assert (now.get("action"), now.get("by"), now.get("decided")) == (said["action"], "default", said["decided"]), now
    service.wait()
    assert service.stop() == 0
    ledger = ledger_of(service)
    acts = [entry.key for entry in ledger.scan(1, (ACT,)) if entry.key.startswith("answered:")]
    found = {entry.key: spilled(entry.content) for entry in ledger.scan(1, (DECISION,))}
    assert acts and len(acts) == len(set(acts))
    assert set(acts) == {f"answered:{said['id']}" for said in told.values() if not found[said["id"]]}
    ledger.close()
    assert set(decided(service).values()) == {1}
    assert mismatches(service) == 0


def spilled(content: bytes) -> bool:
    return bool(msgspec.msgpack.decode(content)["path"][0].startswith("spilled"))


@pytest.mark.parametrize("fault", ["error=1", "error=1&only=commit", "partial=1", "hang=1:2s&only=commit", "flap=0s:9s"])
def test_without_a_ledger_requests_are_refused_in_time_and_it_recovers_by_itself(start: Start, starter_trained: Trained,
                                                                                fault: str) -> None:
    service, lines = start("service: {deadline: 500ms}\n" + with_faults("ledger")), good(starter_trained, 60)
    assert service.call("POST", "/v1/decisions", lines[0])[0] == 200
    (service.var / "faults").write_text(fault)
    for line in lines[1:6]:
        started = time.monotonic()
        status, headers, body = service.raw("POST", "/v1/decisions", b"[" + line + b"," + lines[6] + b"]")
        assert (status, headers["retry-after"], headers["content-type"]) == (503, "1", "application/problem+json"), body
        assert time.monotonic() - started < 0.5
    (service.var / "faults").write_text("")
    service.wait()
    answers = [service.call("POST", "/v1/decisions", line) for line in lines]
    assert {status for status, _ in answers} == {200}
    assert service.stop() == 0
    assert set(decided(service).values()) == {1}
    assert mismatches(service) == 0


@pytest.mark.parametrize("fault", ["error=1", "hang=1:3s", "partial=1"])
def test_a_model_that_does_not_answer_gives_way_to_the_next_step(start: Start, starter_trained: Trained, fault: str) -> None:
    service = start("service: {deadline: 2s, model_timeout: 100ms}\n" + with_faults("runtime"))
    lines = good(starter_trained, 80)
    assert service.call("POST", "/v1/decisions", lines[0])[1]["path"] == ["champion"]
    (service.pilot / "faults").write_text(fault)
    broken = [service.call("POST", "/v1/decisions", line) for line in lines[1:20]]
    assert {status for status, _ in broken} == {200}
    assert all(said["by"] == "baseline" and said["path"][0].startswith("champion: ") and said["path"][-1] == "baseline"
               for _, said in broken)
    if fault != "partial=1":
        assert any("OpenError" in said["path"][0] for _, said in broken)  # it was left alone
    (service.pilot / "faults").write_text("")
    until = time.monotonic() + 20
    while service.call("POST", "/v1/decisions", lines.pop(20))[1]["path"] != ["champion"] and time.monotonic() < until:
        time.sleep(0.2)
    assert time.monotonic() < until
    assert 'flightworthy_fallbacks_total{step="baseline"}' in service.call("GET", "/metrics")[1]
    assert service.stop() == 0
    assert mismatches(service) == 0


def test_when_the_front_is_killed_its_shards_end_and_the_next_one_takes_over(start: Start, starter_trained: Trained) -> None:
    service, lines = start(), good(starter_trained, 5)
    first = service.call("POST", "/v1/decisions", lines[0])[1]
    pids = service.shards()
    service.process.kill()
    again = start()
    assert again.call("POST", "/v1/decisions", lines[0])[1] == first
    assert not any(exists(pid) for pid in pids)


def said(command: str, service: Service) -> Any:
    """What a command says of the folder of a service, whose shards have a ledger each."""
    asked = [sys.executable, "-m", "flightworthy", command, str(service.pilot), "--var", str(service.var), "--json"]
    return json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)


def test_shards_own_their_entities_and_outcomes_find_them(start: Start, starter_trained: Trained, tmp_path: Path) -> None:
    service, lines = start(args=("--shards", "2")), good(starter_trained, 60)
    status, many = service.call("POST", "/v1/decisions", b"[" + b",".join(lines) + b"]")
    assert status == 200 and [one["id"] for one in many] == [json.loads(line)["invoice"] for line in lines]
    told = b"[" + b",".join(json.dumps({"invoice": one["id"], "late": True}).encode() for one in many) + b"]"
    status, noted = service.call("POST", "/v1/outcomes", told)
    assert status == 200 and [(one["id"], one["decision"]) for one in noted] == [(one["id"], one["decision"]) for one in many]
    assert service.call("POST", "/v1/outcomes", b'{"invoice":"nobody","late":true}')[0] == 409
    os.kill(service.shards()[1], signal.SIGKILL)
    service.wait()
    assert [service.call("POST", "/v1/decisions", line)[1] for line in lines[:10]] == many[:10]
    assert service.stop() == 0
    owners = [{entry.key for entry in ledger_of(service, f"shard-{k}-of-2").scan(1, (DECISION,))} for k in (1, 2)]
    assert not owners[0] & owners[1] and len(owners[0] | owners[1]) == 60 and all(owners)
    worth, again = (said(name, service) for name in ("value", "replay"))
    assert worth["decisions"] == again["decisions"] == 60 and again["mismatches"] == 0
