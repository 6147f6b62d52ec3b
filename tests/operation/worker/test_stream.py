"""Workers on a real Kafka."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from services.kafka import Kafka
from services.postgres import Postgres
from services.redis import Redis

from flightworthy.decision.rooms import part_of
from flightworthy.governance.ledger import ACT, DECISION, OUTCOME
from tests.conftest import Trained
from tests.operation.worker.dying import GAPS
from tests.operation.worker.running import Rig, Topics, until

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]
Make = Callable[..., Rig]


@pytest.fixture
def make(kafka: Kafka, starter_trained: Trained, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a rig with topics of its own."""
    made: list[Rig] = []

    def make_(partitions: int = 2, adapters: str = "") -> Rig:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        name = f"t{abs(hash(request.node.nodeid)) % 10**9}-{os.getpid()}-{len(made)}"
        made.append(Rig(starter_trained, folder, Topics(kafka, name, partitions), adapters))
        return made[-1]

    yield make_
    for rig in made:
        rig.end()


def features_of(rig: Rig) -> dict[str, tuple[bytes, str]]:
    """Event → bits of its features and outputs, and its action."""
    return {r.id: (msgspec.msgpack.encode([r.features, r.outputs]), r.action) for part in rig.records() for r in part}


def told_once(rig: Rig) -> None:
    """Every decision was published, always with the same words."""
    heard: dict[str, set[str]] = {}
    for said in rig.topics.heard():
        heard.setdefault(said["id"], set()).add(msgspec.json.encode(said).decode())
    assert heard.keys() == {r.id for part in rig.records() for r in part}
    assert all(len(words) == 1 for words in heard.values())


def test_a_stream_is_decided_and_told(make: Make, starter_trained: Trained) -> None:
    rig = make()
    events = starter_trained.lines("history", 400)
    rig.topics.send([*events[:200], events[7], b"{", b'{"invoice": 1}', *events[200:]])
    told = [line for line in starter_trained.lines("history_outcomes")
            if msgspec.json.decode(line)["invoice"] in {msgspec.json.decode(e)["invoice"] for e in events}]
    owner = {msgspec.json.decode(e)["invoice"]: msgspec.json.decode(e)["customer_id"] for e in events}
    rig.topics.send(told, "outcomes", [owner[msgspec.json.decode(line)["invoice"]] for line in told])
    rig.finish()
    assert Counter(r.id for part in rig.records() for r in part) == dict.fromkeys(owner, 1)
    told_once(rig)
    assert {r.id for part in rig.records(OUTCOME) for r in part} == {msgspec.json.decode(line)["invoice"] for line in told}
    letters = rig.topics.letters()
    assert sorted(raw for _, raw in letters) == [b"{", b'{"invoice": 1}']
    said = next(headers for headers, raw in letters if raw == b"{")
    assert (said["reason"], said["kind"], said["pilot"]) == ("malformed", "event", "starter")
    assert said["source"].startswith(rig.topics.name) and said["offset"].isdigit()
    assert rig.replayed() == (400, 0)
    takeovers = [r for part in rig.records(ACT) for r in part if r.id == "takeover"]
    assert [r.said["events"] for r in takeovers] == ["the oldest", "the oldest"]
    rig.finish()  # once more: nothing is new
    assert len(rig.topics.heard()) == 400


def test_an_early_outcome_waits_for_its_event(make: Make, starter_trained: Trained) -> None:
    rig = make(1)
    events = starter_trained.lines("history", 30)
    invoice = msgspec.json.decode(events[29])["invoice"]
    rig.topics.send([msgspec.json.encode({"invoice": invoice, "late": True})], "outcomes", ["x"], stamp=1_000)
    rig.topics.send(events[:10])
    worker = rig.worker()
    until(rig.topics.letters)
    rig.topics.send(events[10:])
    until(lambda: [r for r in rig.records(OUTCOME)[0] if r.id == invoice])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert rig.records(OUTCOME)[0][0].label == 1.0
    assert rig.replayed() == (30, 0)
    ledger = rig.ledgers()[0]
    assert ledger.quarantine_counts() == {("admitted", "no_decision"): 1}
    ledger.close()


@pytest.mark.parametrize("gap", GAPS)
def test_every_gap_between_two_commits(gap: str, make: Make, starter_trained: Trained) -> None:
    rig, quiet = make(), make()
    lines = starter_trained.lines("history", 1500)
    for each in (rig, quiet):
        each.topics.send([*lines[:700], b"broken", *lines[650:]])
    quiet.finish()
    worker = rig.worker("--until-idle", "1.5", dying=(gap, 1 if gap.endswith(("takeover", "again")) else 2))
    assert worker.wait(60) == -signal.SIGKILL, rig.log.read_text()[-2000:]
    rig.finish()
    assert features_of(rig) == features_of(quiet)
    assert len(features_of(rig)) == 1500
    told_once(rig)
    for each in (rig, quiet):
        assert {(said["reason"], said["source"].partition("/")[2], raw) for said, raw in each.topics.letters()} == {
            ("malformed", each.topics.letters()[0][0]["source"].partition("/")[2], b"broken")}
    assert rig.replayed() == (1500, 0)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_partitions_move_and_a_sleeper_cannot_write(store: str, make: Make, starter_trained: Trained,
                                                    request: pytest.FixtureRequest) -> None:
    server: Postgres | None = request.getfixturevalue("server") if store == "postgres" else None
    rig = make(adapters="" if server is None else f"ledger: '{server.url(f'stream_{os.getpid()}')}'")
    lines = starter_trained.lines("history", 1200)
    rig.topics.send(lines[:300])
    first = rig.worker("--name", "first")
    until(lambda: len(rig.topics.heard()) == 300)
    second = rig.worker("--name", "second")
    until(lambda: {r.who for part in rig.records(ACT) for r in part if r.id == "takeover"} == {"first", "second"})
    rig.topics.send(lines[300:600])
    until(lambda: len({said["id"] for said in rig.topics.heard()}) == 600)
    first.send_signal(signal.SIGSTOP)  # past its session
    rig.topics.send(lines[600:900])
    until(lambda: len({said["id"] for said in rig.topics.heard()}) == 900)
    first.send_signal(signal.SIGCONT)
    rig.topics.send(lines[900:])
    until(lambda: len({said["id"] for said in rig.topics.heard()}) == 1200)
    for worker in (first, second):
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, rig.log.read_text()[-2000:]
    assert Counter(r.id for part in rig.records() for r in part).most_common(1)[0][1] == 1
    told_once(rig)
    assert rig.replayed() == (1200, 0)


def test_workers_that_come_while_partitions_are_taken_up(make: Make, starter_trained: Trained) -> None:
    rig = make(4)
    rig.topics.send(starter_trained.lines("history", 800))
    workers = [rig.worker("--name", f"w{i}") for i in range(3)]
    until(lambda: len({said["id"] for said in rig.topics.heard()}) == 800)
    for worker in workers:
        assert worker.poll() is None, rig.log.read_text()[-2000:]
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    told_once(rig)
    assert rig.replayed() == (800, 0)


def test_a_broker_that_went_keeps_no_worker_from_ending(starter_trained: Trained, tmp_path: Path) -> None:
    own = Kafka(tmp_path / "kafka")
    rig = Rig(starter_trained, tmp_path, Topics(own, "t", 2))
    rig.topics.send(starter_trained.lines("history", 50))
    worker = rig.worker()
    until(lambda: len(rig.topics.heard()) == 50)
    own.kill()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    rig.end()


@pytest.mark.timeout(120)
def test_a_broker_that_is_away_when_a_worker_starts_is_waited_for(starter_trained: Trained, tmp_path: Path) -> None:
    broker = Kafka(tmp_path / "kafka")
    try:
        rig = Rig(starter_trained, tmp_path, Topics(broker, "later", 2))
        rig.topics.send(starter_trained.lines("history", 60))
        broker.kill()
        worker = rig.worker()
        time.sleep(4)
        assert worker.poll() is None
        broker.start()
        until(lambda: len(rig.topics.heard()) == 60)
        rig.end()
    finally:
        broker.stop()


@pytest.mark.parametrize("kind", ["events", "outcomes"])
def test_a_record_that_ends_its_workers_goes_to_quarantine(kind: str, make: Make, starter_trained: Trained) -> None:
    rig = make(1)
    lines = starter_trained.lines("history", 60)
    bad = msgspec.json.encode(msgspec.json.decode(lines[40]) | {"invoice": "poison"})
    rig.topics.send(lines[:40])
    rig.topics.send([bad], kind)
    rig.topics.send(lines[40:])
    for _ in range(5):
        assert rig.worker("--until-idle", "1.5", dying=("poison \"poison\"", 1)).wait(60) == -signal.SIGKILL
    assert rig.worker("--until-idle", "1.5", dying=("poison \"poison\"", 1)).wait(60) == 0, rig.log.read_text()[-2000:]
    assert len(rig.records()[0]) == 60
    assert [(said["reason"], said["kind"]) for said, _ in rig.topics.letters()] == [("poison", kind.rstrip("s"))]
    assert rig.topics.letters()[0][1] == bad


def test_what_the_broker_had_before_is_remembered(make: Make, starter_trained: Trained) -> None:
    rig = make(1)
    rig.topics.send(starter_trained.lines("history", 100))
    time.sleep(0.01)
    rig.finish("--history", "now")
    rig.topics.send(starter_trained.lines("history", 150)[100:])
    rig.finish("--history", "now")  # said once: what comes later is decided
    assert len(rig.records("history")[0]) == 100
    assert len(rig.records(DECISION)[0]) == 50
    assert len(rig.topics.heard()) == 50
    assert rig.replayed() == (50, 0)


def test_records_that_are_gone_before_they_were_read_stop_a_worker(make: Make, starter_trained: Trained) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    rig = make(1)
    rig.topics.send(starter_trained.lines("history", 50))
    rig.finish()
    rig.topics.send(starter_trained.lines("history", 90)[50:])
    admin = AdminClient({"bootstrap.servers": rig.topics.kafka.servers})
    for done in admin.delete_records([TopicPartition(f"{rig.topics.name}-events", 0, 70)]).values():
        done.result(20)
    assert rig.worker("--until-idle", "1.5").wait(60) == 2
    assert "no longer in the topic" in rig.log.read_text()
    assert len(rig.records()[0]) == 50
    rig.finish("--skip-missing")
    assert len(rig.records()[0]) == 70


def test_a_worker_shows_its_lag_and_its_health(make: Make, starter_trained: Trained) -> None:
    from services.processes import free_port

    rig, port = make(1), free_port()
    rig.topics.send([*starter_trained.lines("history", 80), b"?"])
    rig.worker("--metrics", f"127.0.0.1:{port}")
    until(lambda: len(rig.topics.heard()) == 80)

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    until(lambda: 'flightworthy_stream_lag{partition="' in get("/metrics"))
    figures = {line.split("{")[0].split(" ")[0]: float(line.rpartition(" ")[2]) for line in get("/metrics").splitlines()
               if not line.startswith("#")}
    assert figures["flightworthy_stream_decisions_total"] == 80
    assert figures["flightworthy_stream_quarantined_total"] == 1
    assert figures["flightworthy_stream_lag"] == 0
    assert figures["flightworthy_stream_watermark_seconds"] > 1e9
    assert get("/health/ready") == '{"ok":true}'


def test_a_worker_shares_its_features_through_redis(make: Make, starter_trained: Trained, redis: Redis) -> None:
    rig, quiet = make(adapters=f"state: '{redis.url('3')}'"), make()
    for each in (rig, quiet):
        each.topics.send(starter_trained.lines("history", 500))
        each.finish()
    assert features_of(rig) == features_of(quiet)
    assert not (part_of(rig.var, 0, 2) / "state" / "features.npz").exists()
