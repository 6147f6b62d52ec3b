"""Entries leave the ledger: folders that prove themselves, a collector that acknowledges, syslog over TLS; over broken lines."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flightworthy.adapters.export.factory import open_hec, open_syslog
from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.decision.engine import Engine
from flightworthy.governance.log.policy import Policy
from flightworthy.ground.errors import AdapterError, DataError, ProofError
from flightworthy.operation.exporting import Position, check_folder, to_folder, to_receiver
from tests.conftest import Trained

pytestmark = pytest.mark.timeout(60)


class Secrets:
    def __init__(self, **kept: str) -> None:
        self.kept = {name.replace("_", "-"): value for name, value in kept.items()}

    def get(self, name: str) -> str | None:
        return self.kept.get(name)

    def put(self, name: str, value: str, new: bool = False) -> None:
        raise AssertionError


@pytest.fixture
def engine(open_engine: Callable[..., Engine], starter_trained: Trained) -> Engine:
    engine = open_engine()
    engine.act("note", "one", {"why": 'a "quoted" ] word'})
    lines = starter_trained.lines("live", 1100)
    for start in (0, 600):
        engine.decide(lines[start : start + 600])
        assert engine.publisher is not None
        engine.publisher.publish()
    engine.decide(starter_trained.lines("live", 1120)[1100:])  # not published: not exported
    return engine


def trusted(engine: Engine) -> Policy:
    assert engine.publisher is not None
    return Policy([signer.verifier for signer in engine.publisher._signers])


def seqs(events: list[Any]) -> list[int]:
    return [event["seq"] for event in events if "seq" in event]


def in_order(found: list[int], last: int) -> bool:
    """Each once or more, never one before all that are ahead of it."""
    seen = 0
    for seq in found:
        if seq > seen + 1:
            return False
        seen = max(seen, seq)
    return seen == last


# -- folders ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["ndjson", "parquet"])
@pytest.mark.parametrize("first", [1, 2, 1000])
def test_a_folder_proves_itself(engine: Engine, tmp_path: Path, form: str, first: int) -> None:
    if form == "parquet":
        pytest.importorskip("duckdb")
    count = to_folder(engine.ledger, tmp_path / "out", first, form)
    assert count == 1101 - first + 1
    found, checked = check_folder(tmp_path / "out", trusted(engine))
    assert (found.first, found.last, checked) == (first, 1101, count)
    with pytest.raises(ProofError):
        check_folder(tmp_path / "out", Policy())
    with pytest.raises(DataError, match="not empty"):
        to_folder(engine.ledger, tmp_path / "out", first, form)


@pytest.mark.parametrize("change", ["record", "missing", "swapped", "cut", "before", "leaf", "garbage"])
def test_a_changed_folder_is_found(engine: Engine, tmp_path: Path, change: str) -> None:
    to_folder(engine.ledger, tmp_path / "out", 1000, "ndjson")
    file = tmp_path / "out" / "entries.ndjson"
    lines = file.read_bytes().splitlines(keepends=True)
    if change == "record":
        lines[7] = re.sub(rb'"stored":"....', b'"stored":"AAAA', lines[7])
    elif change == "leaf":
        lines[7] = re.sub(rb'"leaf":"....', b'"leaf":"0000', lines[7])
    elif change == "missing":
        del lines[7]
    elif change == "swapped":
        lines[7], lines[8] = lines[8], lines[7]
    elif change == "cut":
        del lines[-1]
    elif change == "garbage":
        lines[3] = b"{}\n"
    else:
        head = json.loads((tmp_path / "out" / "head.json").read_text())
        head["before"][0] = "00" * 32
        (tmp_path / "out" / "head.json").write_text(json.dumps(head))
    file.write_bytes(b"".join(lines))
    with pytest.raises(ProofError):
        check_folder(tmp_path / "out", trusted(engine))


def test_what_cannot_be_exported_is_said(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ProofError, match="no such entries"):
        to_folder(engine.ledger, tmp_path / "a", 5000, "ndjson")
    with pytest.raises(DataError, match="no such form"):
        to_folder(engine.ledger, tmp_path / "b", 1, "xlsx")
    with pytest.raises(ProofError, match="nothing is published"):
        to_folder(SqliteLedger(tmp_path / "empty.db"), tmp_path / "c", 1, "ndjson")
    with pytest.raises(ProofError, match="no export"):
        check_folder(tmp_path, trusted(engine))


# -- a collector --------------------------------------------------------------------------------------------------
class Collector(http.server.BaseHTTPRequestHandler):
    """Splunk's event collector as its documentation has it: events, channels, acknowledgements; and its bad days."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        state: Any = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        trouble = state.troubles.pop(0) if state.troubles else ""
        if trouble == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if self.headers["authorization"] != "Splunk good":
            return self._say(403, {"text": "Invalid token", "code": 4})
        if trouble == "busy":
            return self._say(503, {"text": "Server is busy", "code": 9})
        if self.path.endswith("/ack"):
            asked = json.loads(body)["acks"]
            if trouble == "later":
                return self._say(200, {"acks": {str(i): False for i in asked}})
            return self._say(200, {"acks": {str(i): i in state.taken for i in asked}})
        decoder, text, at = json.JSONDecoder(), body.decode(), 0
        events = []
        while at < len(text):
            event, at = decoder.raw_decode(text, at)
            events.append(event)
        state.events += [event["event"] for event in events]
        state.wrapped += events
        state.number += 1
        if trouble != "lost":
            state.taken.add(state.number)
        if trouble == "cut after":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self._say(200, {"text": "Success", "code": 0} | ({} if state.silent else {"ackId": state.number}))

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.daemon_threads = True
    server.events, server.wrapped, server.taken, server.number, server.troubles, server.silent, server.opened = [], [], set(), 0, [], False, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    for made in server.opened:
        made.close()
    server.shutdown()
    server.server_close()


def hec(collector: Any, token: str = "good") -> Any:  # noqa: S107
    made = open_hec(f"hec+http://127.0.0.1:{collector.server_address[1]}?index=audit", Path(), Secrets(hec_token=token))
    collector.opened.append(made)
    return made


@pytest.mark.parametrize("troubles", [[], ["cut"], ["cut after"], ["", "cut"], ["", "later", "later"], ["busy", "busy", "", "cut", "cut after"],
                                      ["", "", "cut after", "", "", "later", "busy"]])
def test_a_collector_gets_every_entry_in_order(engine: Engine, collector: Any, tmp_path: Path, troubles: list[str]) -> None:
    collector.troubles = list(troubles)
    position, waits = Position(tmp_path / "position"), list[float]()
    sent = to_receiver(engine.ledger, hec(collector), position, pause=waits.append)
    assert (sent, position.get()) == (1101, 1101)
    assert in_order(seqs(collector.events), 1101)
    assert len(waits) == len([t for t in troubles if t not in ("", "later")])
    assert collector.troubles == []
    assert {e["sourcetype"] for e in collector.wrapped} == {"flightworthy:entry"}
    assert collector.events[-1]["kind"] == "checkpoint"
    before = len(collector.events)
    assert to_receiver(engine.ledger, hec(collector), position) == 0  # it has all
    assert len(collector.events) == before


def test_a_collector_that_never_indexes_is_not_believed(engine: Engine, collector: Any, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    from flightworthy.adapters.export import hec as module

    monkeypatch.setattr(module, "_LONGEST", 0.2)
    collector.troubles = ["lost"]
    position, waits = Position(tmp_path / "position"), list[float]()
    assert to_receiver(engine.ledger, hec(collector), position, pause=waits.append) == 1101
    assert len(waits) == 1
    assert in_order(seqs(collector.events), 1101)
    collector.silent = True
    with pytest.raises(AdapterError, match="no acknowledgement"):
        to_receiver(engine.ledger, hec(collector), Position(tmp_path / "other"))
    with pytest.raises(AdapterError, match="refused") as refused:
        to_receiver(engine.ledger, hec(collector, "bad"), Position(tmp_path / "third"))
    assert not refused.value.retryable
    assert "bad" not in str(refused.value)
    collector.troubles = ["busy"] * 8
    with pytest.raises(AdapterError, match="refused"):
        to_receiver(engine.ledger, hec(collector), Position(tmp_path / "fourth"), pause=waits.append)


def test_tokens_do_not_travel_in_clear() -> None:
    with pytest.raises(AdapterError, match="in clear"):
        open_hec("hec+http://splunk.example.org:8088", Path(), Secrets(hec_token="good"))  # noqa: S106
    with pytest.raises(AdapterError, match="wants a token"):
        open_hec("hec+https://splunk.example.org:8088", Path(), Secrets())
    with pytest.raises(AdapterError, match="over TLS"):
        open_syslog("syslog+tcp://log.example.org:514", Path(), Secrets())
    with pytest.raises(AdapterError, match="authorities"):
        open_syslog("syslog+tls://log.example.org?ca=nowhere.pem", Path(), Secrets())


# -- syslog -------------------------------------------------------------------------------------------------------
def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.datetime.now(datetime.UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                       serialization.NoEncryption()))
    return folder / "ca.pem", folder / "key.pem"


class SyslogServer:
    """A receiver of RFC 5425: what it has read when TLS ends in order is kept; a broken connection keeps what was whole."""

    def __init__(self, folder: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate(folder))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.messages, self.cuts, self.failures = self.listener.getsockname()[1], list[bytes](), list[int](), list[str]()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                plain = self.listener.accept()[0]
            except OSError:
                return
            cut, data = self.cuts.pop(0) if self.cuts else -1, b""
            try:
                with self.context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as line:
                    while part := line.recv(65536):
                        data += part
                        if 0 <= cut <= len(data):
                            raise ConnectionResetError
                    self._take(data)
                    line.unwrap()
            except OSError as error:
                self.failures.append(type(error).__name__)
                self._take(data)
                plain.close()

    def _take(self, data: bytes) -> None:
        while match := re.match(rb"(\d+) ", data):
            length = int(match.group(1))
            if len(data) < match.end() + length:
                return
            self.messages.append(data[match.end() : match.end() + length])
            data = data[match.end() + length :]
        assert data == b""


MESSAGE = re.compile(rb'<109>1 (\S+) (\S+) flightworthy \d+ (\w+) \[entry@32473 log="([^"]+)" seq="(\d+)" leaf="([0-9a-f]{64})"\] '
                     rb"\xef\xbb\xbf(\{.*\})", re.DOTALL)


@pytest.mark.parametrize("cuts", [[], [0], [100_000], [-1, 0, 300_000, -1, 1]])
def test_syslog_gets_every_entry_in_order(engine: Engine, tmp_path: Path, cuts: list[int]) -> None:
    server = SyslogServer(tmp_path)
    server.cuts = list(cuts)
    receiver = open_syslog(f"syslog+tls://127.0.0.1:{server.port}?ca=ca.pem&name=test", tmp_path, Secrets())
    position, waits = Position(tmp_path / "position"), list[float]()
    assert to_receiver(engine.ledger, receiver, position, pause=waits.append) == 1101
    assert len(waits) == len([cut for cut in cuts if cut >= 0])
    found = [MESSAGE.fullmatch(message) for message in server.messages]
    assert all(found)
    assert in_order([int(m.group(5)) for m in found if m], 1101)
    first = next(m for m in found if m and m.group(5) == b"1")
    assert (first.group(2), first.group(3), json.loads(first.group(7))["record"]["said"]["why"]) == (b"test", b"act", 'a "quoted" ] word')
    server.listener.close()


def test_a_receiver_nobody_vouches_for_gets_nothing(engine: Engine, tmp_path: Path) -> None:
    server = SyslogServer(tmp_path)
    receiver = open_syslog(f"syslog+tls://127.0.0.1:{server.port}", tmp_path, Secrets())
    with pytest.raises(AdapterError, match="CERTIFICATE_VERIFY_FAILED"):
        to_receiver(engine.ledger, receiver, Position(tmp_path / "position"), pause=lambda seconds: None)
    assert server.messages == []
    server.listener.close()


def test_positions_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "position").write_text("far")
    with pytest.raises(DataError, match="no position"):
        Position(tmp_path / "position").get()


# -- the command --------------------------------------------------------------------------------------------------
def test_the_commands(engine: Engine, starter_trained: Trained, collector: Any, tmp_path: Path) -> None:
    var, pilot = tmp_path / "var", str(starter_trained.pilot.folder)
    key = str(trusted(engine).logs[0])
    engine.close()

    def told(*words: str, code: int = 0) -> str:
        done = subprocess.run([sys.executable, "-m", "flightworthy", "audit", *words], capture_output=True, text=True, check=False,
                              cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    out = str(tmp_path / "out")
    assert "1,121 entries" in told("export", pilot, out, "--var", str(var))
    assert "1,121 entries, 1 to 1,121: all there" in told("check-export", out, "--key", key)
    assert "keys that you trust" in told("check-export", out, code=2)
    (var / "keys" / "hec-token").write_text("good")
    (var / "keys" / "hec-token").chmod(0o600)
    url = f"hec+http://127.0.0.1:{collector.server_address[1]}"
    assert "1,121 entries sent" in told("export", pilot, url, "--var", str(var))
    assert "0 entries sent, up to 1,121" in told("export", pilot, url, "--var", str(var))
    assert in_order(seqs(collector.events), 1121)


