"""Software that knows nothing of us verifies our log: Go's sumdb packages, torchwood and Tessera's fsck."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.ledger import SqliteLedger
from flightworthy.adapters.sqlite.seen import SqliteSeen
from flightworthy.governance.ledger import Block, Entries
from flightworthy.governance.ledger_checks import entries
from flightworthy.governance.log import note, static
from flightworthy.governance.log.disclosure import check, prove
from flightworthy.governance.log.leaf import leaf
from flightworthy.governance.log.note import COSIGNED, Note, Signer
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.publisher import Publisher
from flightworthy.governance.log.store import Published
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.governance.log.witness import Witness, asked
from flightworthy.ground.clock import ManualClock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SOURCE = Path(__file__).parents[2] / "outside"
LOG = Signer("flightworthy/test/00000000", bytes(32))
WITNESS = Signer("witness.example/w", bytes([7]) * 32, COSIGNED)
POLICY = f"log {LOG.verifier}\nwitness w {WITNESS.verifier}\nquorum w\n"


@pytest.fixture(scope="module")
def outside() -> Path:
    """The Go program, built once for its sources."""
    found = shutil.which("go") and subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"go1\.(\d+)", found or "")
    if version is None or int(version[1]) < 21:  # from there on it fetches the release a module asks for
        pytest.skip("no Go, or one before 1.21")
    key = sha256(b"".join(file.read_bytes() for file in sorted(SOURCE.iterdir()) if file.is_file())).hexdigest()[:12]
    program = SOURCE.parents[1] / ".cache" / "outside" / key
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        beside = program.with_name(f"{key}.{os.getpid()}")
        done = subprocess.run(["go", "build", "-o", str(beside), "."], cwd=SOURCE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        beside.replace(program)
    return program


class Log:
    """A log in a folder, with an older checkpoint and a proof beside it."""

    def __init__(self, folder: Path, size: int, old: int) -> None:
        self.folder = folder
        ledger = SqliteLedger(folder / "l.db")
        publisher = Publisher(ledger, [LOG])
        ledger.commit(Block(Entries.of(entries(1, old))))
        before = publisher.publish()
        assert before is not None
        self.write("old", self.witnessed(ledger, before, 0))
        static.write(ledger, folder / "log")  # and once more when it has grown: partial tiles become full
        if size > old:
            ledger.commit(Block(Entries.of(entries(old + 1, size - old))))
            now = publisher.publish()
            assert now is not None
            self.witnessed(ledger, now, old)
        assert static.write(ledger, folder / "log") == size
        entry = ledger.read([size // 2 + 1])[0]
        self.write("proof", prove(ledger, entry))
        self.write("leaf", leaf(entry.seq, entry.kind, sha256(entry.content).digest()))
        self.write("policy", POLICY.encode())
        assert check((folder / "proof").read_bytes(), Policy.parse(POLICY)).witnesses == ["w"]
        ledger.close()

    def witnessed(self, ledger: SqliteLedger, published: Published, old: int) -> bytes:
        from flightworthy.governance.log import merkle

        seen = SqliteSeen(self.folder / "seen.db")
        witness = Witness(WITNESS, {LOG.verifier.name: [LOG.verifier]}, seen, ManualClock(1_000_000))
        path = merkle.consistency(TiledNodes(ledger.log.hashes), old, published.size)
        reply = witness.add(asked(old, path, published.note))
        assert reply.status == 200
        seen.close()
        signed = note.parse(published.note)
        both = bytes(Note(signed.text, signed.lines + note.lines_of(reply.content.decode())))
        ledger.log.countersign(published.size, both)
        return both

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def ask(self, outside: Path) -> tuple[int, str]:
        files = [str(self.folder / name) for name in ("log", "policy", "proof", "leaf", "old")]
        done = subprocess.run([str(outside), *files], capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("size", "old"), [(1, 1), (2, 1), (255, 3), (256, 255), (257, 256), (65_535, 256), (65_536, 65_535),
                                           (65_537, 1), (70_000, 65_536)])
def test_others_find_our_log_in_order(outside: Path, tmp_path: Path, size: int, old: int) -> None:
    status, said = Log(tmp_path, size, old).ask(outside)
    assert status == 0 and f"fine: {size} entries, consistent with the first {old}" in said, said


def test_others_refuse_what_we_refuse(outside: Path, tmp_path: Path) -> None:
    log = Log(tmp_path, 600, 300)
    assert log.ask(outside)[0] == 0
    for name, old, new in (("log/checkpoint", b"600", b"601"), ("log/tile/entries/000", b'"seq":7,', b'"seq":8,'), ("leaf", b"301", b"302"),
                           ("old", b"300", b"301"), ("proof", b"index 300", b"index 299")):
        path = tmp_path / name
        content = path.read_bytes()
        assert content.count(old)
        path.write_bytes(content.replace(old, new, 1))
        status, said = log.ask(outside)
        assert status == 1 and "refused" in said, (name, said)
        path.write_bytes(content)
    tile = tmp_path / "log" / "tile" / "0" / "001"
    content = tile.read_bytes()
    tile.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert log.ask(outside)[0] == 1
    tile.write_bytes(content)
    assert log.ask(outside)[0] == 0
