"""The log of a running service: provable soon, over HTTP as any client of tlog-tiles reads it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.governance.log import merkle
from flightworthy.governance.log.disclosure import check
from flightworthy.governance.log.note import Verifier
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.tiles import ENTRIES, WIDTH, Tile, TiledNodes, leaves_of
from tests.conftest import PILOTS, Trained
from tests.operation.running import Service

pytestmark = pytest.mark.timeout(120)


def audit(*words: object) -> str:
    done = subprocess.run([sys.executable, "-m", "flightworthy", "audit", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def get(service: Service, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/v1/log/{path}", timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def published(folder: Path) -> None:
    """Wait until everything decided is under a checkpoint."""
    ledger, until = open_ledger("sqlite:///ledger.db", folder, read_only=True), time.monotonic() + 30
    while (newest := ledger.log.newest()) is None or newest.size < ledger.last():
        assert time.monotonic() < until, "nothing is published"
        time.sleep(0.05)
    ledger.close()


def test_a_decision_is_provable_while_the_service_runs(start: Callable[[], Service], starter_trained: Trained,
                                                                       tmp_path: Path) -> None:
    service, var, pilot = start(), tmp_path / "var", PILOTS / "starter"
    assert get(service, "0/checkpoint")[0] == 404  # nothing was decided yet
    lines = starter_trained.lines("live", 300)
    for start_at in range(0, 300, 50):
        assert service.call("POST", "/v1/decisions", b"[" + b",".join(lines[start_at : start_at + 50]) + b"]")[0] == 200
    published(var)
    policy = Policy([Verifier.parse(audit("key", pilot, "--var", var).split()[1])])
    checkpoint, _ = policy.check(get(service, "0/checkpoint")[1])
    name = json.loads(lines[0])["invoice"]
    proof = tmp_path / "p.tlog-proof"
    assert "proves entry 1 of" in audit("prove", pilot, name, "--out", proof, "--var", var)
    assert check(proof.read_bytes(), policy).kind == "decision"
    assert "as it was written" in audit("verify", pilot, "--var", var)

    size = checkpoint.size
    assert size > 256

    def read(level: int, first: int, count: int) -> bytes:
        """As a client does that has nothing but the tiles."""
        place = first // WIDTH
        width = min(WIDTH, (size >> 8 * level) - place * WIDTH)
        status, content = get(service, f"0/{Tile(level, place, width).path}")
        assert status == 200
        return content[32 * (first - place * WIDTH) : 32 * (first - place * WIDTH + count)]

    nodes = TiledNodes(read)
    assert merkle.root(nodes, size) == checkpoint.root
    leaves = [leaf for place in range(2) for leaf in leaves_of(
        get(service, f"0/{Tile(ENTRIES, place, min(WIDTH, size - place * WIDTH)).path}")[1])]
    assert [json.loads(leaf)["seq"] for leaf in leaves] == list(range(1, size + 1))
    assert merkle.includes(merkle.leaf_hash(leaves[6]), 6, size, merkle.inclusion(nodes, 6, size), checkpoint.root)
    for path in ("1/checkpoint", "00/checkpoint", "x/checkpoint", "0", "0/", "0/other", "0/tile/0/005", "0/tile/0/000.p/0",
                 "0/tile/1/000", "0/tile/63/000.p/1", "9" * 400 + "/checkpoint", "0" * 5000 + "/checkpoint", "0/tile/0/" + "x001/" * 2000 + "000", "-1/checkpoint", "0/../keys/log-key", ""):
        assert get(service, path)[0] == 404, path
    assert service.call("POST", "/v1/log/0/checkpoint", b"{}")[0] == 404
    assert service.stop() == 0
    assert "PRIVATE" not in service.log() and (var / "keys" / "log-key").stat().st_mode & 0o777 == 0o600


def test_every_shard_has_a_log_of_its_own(start: Callable[..., Service], starter_trained: Trained, tmp_path: Path) -> None:
    service = start(args=("--shards", "2"))
    lines = starter_trained.lines("live", 60)
    assert service.call("POST", "/v1/decisions", b"[" + b",".join(lines) + b"]")[0] == 200
    for shard in (1, 2):
        published(tmp_path / "var" / f"shard-{shard}-of-2")
    said = [get(service, f"{shard}/checkpoint")[1].decode().splitlines() for shard in (0, 1)]
    assert said[0][0] != said[1][0] and sum(int(lines[1]) for lines in said) >= 60
    assert audit("verify", PILOTS / "starter", "--var", tmp_path / "var").count("as it was written") == 2
    assert audit("key", PILOTS / "starter", "--var", tmp_path / "var").count("log flightworthy/starter/") == 2
