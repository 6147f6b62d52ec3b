"""A witness signs what grows, and nothing else; a log gets its signatures and hears of what it lost."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.adapters.sqlite.seen import SqliteSeen
from flightworthy.governance.ledger import Block, Entries
from flightworthy.governance.ledger_checks import entries
from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.note import COSIGNED, Signer
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.governance.log.store import Published
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.governance.log.witness import SIZE_TYPE, Reply, Witness, asked
from flightworthy.ground.clock import ManualClock
from flightworthy.operation.witness import server
from flightworthy.operation.witnessing import Witnessing, ask_all

LOG = Signer("flightworthy/test/00000000", bytes(32))
SIGNER = Signer("witness.example/w", bytes([7]) * 32, COSIGNED)


class Place:
    """A ledger with a publisher, and a witness."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = SqliteLedger(folder / "l.db")
        self.publisher = Publisher(self.ledger, [LOG])
        self.nodes = TiledNodes(self.ledger.log.hashes)
        self.seen = SqliteSeen(folder / "seen.db")
        self.witness = Witness(SIGNER, {LOG.verifier.name: [LOG.verifier]}, self.seen, ManualClock(5_000_000))

    def grow(self, count: int) -> Published:
        self.ledger.commit(Block(Entries.of(entries(self.ledger.last() + 1, count))))
        made = self.publisher.publish()
        assert made is not None
        return made

    def ask(self, old: int, published: Published) -> Reply:
        return self.witness.add(asked(old, merkle.consistency(self.nodes, old, published.size), published.note))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.ledger.close()
    made.seen.close()


def test_what_grows_is_signed_with_the_time(place: Place) -> None:
    one, two = place.grow(300), place.grow(400)
    for old, published in ((0, one), (300, two), (700, two)):
        reply = place.ask(old, published)
        assert reply.status == 200
        text = note.parse(published.note).text
        lines = note.lines_of(reply.content.decode())
        assert note.Note(text, lines).by([SIGNER.verifier]) and lines[0][2][:8] == (5).to_bytes(8, "big")
    assert place.ask(0, two) == Reply(409, b"700\n", SIZE_TYPE) == place.ask(300, two)
    again = Witness(SIGNER, {LOG.verifier.name: [LOG.verifier]}, SqliteSeen(place.folder / "seen.db"), ManualClock(9))
    assert again.add(asked(0, [], one.note)).content == b"700\n"  # it remembers over a restart


def signed(size: int, root: bytes, by: Signer = LOG, origin: str = LOG.verifier.name) -> bytes:
    return note.signed(Checkpoint(origin, size, root).text(), [by])


def test_what_does_not_continue_is_not_signed(place: Place) -> None:
    one = place.grow(300)
    assert place.ask(0, one).status == 200
    two = place.grow(100)
    path = merkle.consistency(place.nodes, 300, 400)
    forged = signed(400, bytes(32))
    for status, body in ((422, asked(300, path, forged)), (422, asked(300, path[:-1], two.note)), (422, asked(300, [], two.note)),
                         (409, asked(300, [], signed(300, bytes(32)))), (400, asked(301, [], one.note)),
                         (404, asked(0, [], signed(5, bytes(32), origin="other/log"))),
                         (403, asked(300, path, signed(400, bytes(32), Signer(LOG.verifier.name, bytes([1]) * 32)))),
                         (403, asked(300, path, two.note.replace(b"400", b"401"))),
                         (400, b""), (400, b"old x\n\n"), (400, b"old 1\n\nx"), (400, b"old 01\n\n" + two.note), (400, b"\xff\n\n"),
                         (400, b"old 0\nAAAA\n\n" + two.note), (400, asked(300, [bytes(32)] * 64, two.note))):
        assert place.witness.add(body).status == status, body[:40]
    assert place.witness.add(asked(0, [bytes(32)], two.note)).status == 409
    assert place.ask(300, two).status == 200  # nothing of that was kept


def test_the_first_tree_needs_no_proof_and_takes_none(place: Place) -> None:
    one = place.grow(3)
    assert place.witness.add(asked(0, [bytes(32)], one.note)).status == 422
    assert place.witness.add(asked(0, [], one.note)).status == 200


def test_two_at_once_do_not_roll_it_back(place: Place) -> None:
    made = [place.grow(10) for _ in range(20)]
    bodies = [asked(old, merkle.consistency(place.nodes, old, p.size), p.note) for p in made for old in range(0, p.size + 1, 10)]
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda part=bodies[i::8]: replies.extend(map(place.witness.add, part))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == len(bodies) and {reply.status for reply in replies} <= {200, 409}
    with place.seen.held(LOG.verifier.name) as latest:
        size = latest.size
    times = [note.lines_of(r.content.decode()) for r in replies if r.status == 200]
    assert size > 0 and times and place.ask(size, made[-1]).status == 200


@pytest.fixture
def served(place: Place) -> Iterator[tuple[Place, Policy, Any]]:
    made = server(place.witness, "127.0.0.1", 0)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    policy = Policy.parse(f"log {LOG.verifier}\nwitness w {SIGNER.verifier} http://127.0.0.1:{made.server_address[1]}/\nquorum w")
    yield place, policy, made
    made.shutdown()
    made.server_close()


def test_a_log_has_its_checkpoints_signed_and_an_audit_asks_for_them(served: tuple[Place, Policy, Any]) -> None:
    place, policy, _ = served
    witnessing = Witnessing(policy, place.ledger)
    witnessing.sign(place.grow(300))
    place.publisher.publish()
    assert audit(place.ledger, policy).witnessed == 1 and list(ask_all(place.ledger, policy)) == []
    Witnessing(policy, place.ledger).sign(place.grow(10))  # another process, which does not know what was seen
    found = audit(place.ledger, policy)
    assert (found.witnessed, found.findings) == (2, [])
    newest = place.ledger.log.newest()
    assert newest is not None and len(note.parse(newest.note).lines) == 2
    place.grow(10)
    assert any("too few witnesses" in text for text in audit(place.ledger, policy).findings)
    assert list(ask_all(place.ledger, policy)) == []  # it lags, which is no contradiction


def test_a_rewrite_by_whoever_has_all_other_keys_is_found(served: tuple[Place, Policy, Any], tmp_path: Path,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    """Another history of the same length, signed by the log's own key; and a shorter one."""
    place, policy, _ = served
    Witnessing(policy, place.ledger).sign(place.grow(300))
    for count, said in ((300, "other ones than this ledger's 300"), (200, "has seen 300 entries"), (400, "has seen 300 entries")):
        other = SqliteLedger(tmp_path / f"forged-{count}.db")
        made = [e._replace(key=f"forged-{e.seq}") for e in entries(1, count)]
        made[5] = entries(1, 6)[5]._replace(leaf=entries(7, 1)[0].leaf, content=entries(7, 1)[0].content)
        made[5] = made[5]._replace(leaf=_leaf(made[5]))
        other.commit(Block(Entries.of(made)))
        published = Publisher(other, [LOG]).publish()
        assert published is not None
        Witnessing(policy, other).sign(published)  # the witness refuses
        found = audit(other, policy).findings
        assert any("too few witnesses" in text for text in found)
        assert audit(other, Policy([LOG.verifier])).fine  # without a witness nobody could tell
        if count <= 300:
            assert any(said in text for text in ask_all(other, policy))
        other.close()
    assert "longer log" in caplog.text and "does not lead" in caplog.text


def _leaf(entry: Any) -> bytes:
    from flightworthy.governance.log.leaf import leaf_hash_of

    return leaf_hash_of(entry.seq, entry.kind, entry.content)


def test_a_witness_that_is_away_holds_nothing_up(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    policy = Policy.parse(f"log {LOG.verifier}\nwitness w {SIGNER.verifier} http://127.0.0.1:9\nquorum w")
    witnessing = Witnessing(policy, place.ledger)
    for _ in range(3):
        witnessing.sign(place.grow(5))
    assert caplog.text.count("did not sign") == 1  # it is left alone for some seconds
    assert any("could not be asked" in text for text in ask_all(place.ledger, policy))
    strange = Policy.parse(f"log {LOG.verifier}\nwitness w {SIGNER.verifier} ftp://x\nquorum w")
    assert any("over HTTP" in text for text in ask_all(place.ledger, strange))


def test_a_witness_that_speaks_no_http_holds_nothing_up(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def babble() -> None:
            for _ in range(2):
                caller, _address = listening.accept()
                with caller:
                    caller.recv(65_536)
                    caller.sendall(b"SSH-2.0-x\r\n\r\n")

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        policy = Policy.parse(f"log {LOG.verifier}\nwitness w {SIGNER.verifier} http://127.0.0.1:{port}\nquorum w")
        Witnessing(policy, place.ledger).sign(place.grow(5))
        assert "did not sign" in caplog.text
        assert any("could not be asked" in text for text in ask_all(place.ledger, policy))
        thread.join(10)


def test_the_server_refuses_what_is_no_request(served: tuple[Place, Policy, Any]) -> None:
    _, policy, made = served
    for path, headers, body, status in (("/other", {}, b"x", 404), ("/add-checkpoint", {}, b"x", 400),
                                        ("/add-checkpoint", {"Content-Length": "99999999"}, b"", 413),
                                        ("/add-checkpoint", {"Content-Length": "-1"}, b"", 411)):
        connection = http.client.HTTPConnection("127.0.0.1", made.server_address[1], timeout=10)
        connection.request("POST", path, body, headers)
        assert connection.getresponse().status == status
        connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", made.server_address[1], timeout=10)
    connection.request("GET", "/add-checkpoint")
    assert connection.getresponse().status == 501
    connection.close()
    assert policy.urls
