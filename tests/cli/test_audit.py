"""The commands of an auditor, from a pilot that decided to a proof that a stranger checks."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flightworthy.cli.main import app
from flightworthy.governance.log import note
from flightworthy.governance.log.note import Signer
from flightworthy.ground.errors import AdapterError, DataError, LedgerError, ProofError
from tests.conftest import PILOTS, Trained

RUN = CliRunner()
PILOT = str(PILOTS / "starter")


@pytest.fixture
def var(starter_trained: Trained, tmp_path: Path) -> Path:
    shutil.copytree(starter_trained.var, tmp_path / "var")
    live = tmp_path / "live.ndjson"
    live.write_bytes(b"\n".join(starter_trained.lines("live", 400)) + b"\n")
    done = RUN.invoke(app, ["decide", PILOT, "--data", str(live), "--var", str(tmp_path / "var")])
    assert done.exit_code == 0, done.output
    return tmp_path / "var"


def run(*words: object, code: int = 0) -> str:
    done = RUN.invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_verify_prove_check_and_publish(var: Path, tmp_path: Path, starter_trained: Trained) -> None:
    said = run("audit", "verify", PILOT, "--var", var)
    assert "400 entries from 1 on" in said and "as it was written" in said and "--kept" in said
    invoice = json.loads(starter_trained.lines("live", 1)[0])["invoice"]
    proof = tmp_path / "p.tlog-proof"
    assert "proves entry 1 of flightworthy/" in run("audit", "prove", PILOT, invoice, "--out", proof, "--var", var)
    key = run("audit", "key", PILOT, "--var", var).split()[1]
    words = run("audit", "check", proof, "--key", key)
    assert words == (tmp_path / "p.md").read_text()
    assert f"# Decision {invoice}" in words and "| action |" in words and "none: only the log itself" in words
    policy = tmp_path / "policy"
    policy.write_text(f"log {key}\nquorum none\n")
    assert run("audit", "check", proof, "--policy", policy) == words
    assert "400 entries" in run("audit", "publish", PILOT, tmp_path / "site", "--var", var)
    assert (tmp_path / "site" / "checkpoint").read_bytes() in proof.read_bytes()
    assert run("audit", "verify", PILOT, "--var", var, "--kept", tmp_path / "site" / "checkpoint", "--from", 100).count("301 entries")
    assert json.loads(run("audit", "verify", PILOT, "--var", var, "--json"))[0]["findings"] == []
    for given, error, words in ((["check", str(proof)], DataError, "keys that you trust"),
                                (["check", str(proof), "--key", Signer("other", bytes(32)).verifier], ProofError, "not signed by a key"),
                                (["check", str(tmp_path / "none"), "--key", key], DataError, "cannot read the file"),
                                (["check", str(proof), "--policy", str(tmp_path / "none")], DataError, "cannot read the policy"),
                                (["prove", PILOT, "nobody", "--var", str(var)], LedgerError, "no decision for this event"),
                                (["publish", PILOT, str(tmp_path / "site"), "--var", str(tmp_path / "empty")], LedgerError, "no ledger"),
                                (["key", PILOT, "--var", str(tmp_path / "empty")], DataError, "no log yet")):
        done = RUN.invoke(app, ["audit", *map(str, given)])
        assert isinstance(done.exception, error) and words in str(done.exception), done.exception


def test_a_changed_ledger_is_told_with_exit_code_one(var: Path) -> None:
    with sqlite3.connect(var / "ledger.db") as db:
        db.execute("UPDATE event SET seq = seq + 1 WHERE seq = 400")
    db.close()
    said = run("audit", "verify", PILOT, "--var", var, code=1)
    assert "1 findings" in said and "not to entry 400" in said


def test_what_was_live_when(var: Path) -> None:
    lines = run("audit", "log", PILOT, "--var", var).splitlines()
    assert len(lines) == 2 and "manifest" in lines[0] and "(today's)" in lines[0] and "model" in lines[1]
    found = [json.loads(line) for line in run("audit", "log", PILOT, "--var", var, "--json").splitlines()]
    assert [change["seq"] for change in found] == [1, 1] or found[1]["seq"] > 1  # the holdout may come first


def test_keys_are_secret_and_rotate(var: Path) -> None:
    secret = var / "keys" / "log-key"
    assert secret.stat().st_mode & 0o777 == 0o600
    one = run("audit", "key", PILOT, "--var", var).split()[1]
    assert "PRIVATE" not in one
    said = run("audit", "key", PILOT, "--rotate", "--var", var)
    assert one in said and said.count("log flightworthy/") == 2
    two = said.split()[1]
    live = var.parent / "more.ndjson"
    live.write_bytes((var.parent / "live.ndjson").read_bytes().replace(b'"invoice": "', b'"invoice": "again-').replace(
        b'"invoice":"', b'"invoice":"again-'))
    run("decide", PILOT, "--data", live, "--var", var)
    run("audit", "publish", PILOT, var / "site", "--var", var)
    signed = note.parse((var / "site" / "checkpoint").read_bytes())
    assert [str(v) for v in signed.by([note.Verifier.parse(one), note.Verifier.parse(two)])] == [one, two]
    assert "as it was written" in run("audit", "verify", PILOT, "--var", var)
    secret.chmod(0o644)
    done = RUN.invoke(app, ["audit", "key", PILOT, "--var", str(var)])
    assert isinstance(done.exception, AdapterError) and "others can read" in str(done.exception)


@pytest.fixture
def witness(tmp_path: Path, var: Path) -> Iterator[str]:
    """A witness of the pilot's log in a process of its own; its line of a policy, with its address."""
    key = run("audit", "key", PILOT, "--var", var)
    (tmp_path / "logs").write_text(key)
    line = run("witness", "key", tmp_path / "w", "--name", "witness.example/w").strip()
    assert run("witness", "key", tmp_path / "w").strip() == line
    command = [sys.executable, "-c", "from flightworthy.cli.main import main; main()", "witness", "serve", str(tmp_path / "w"),
               "--policy", str(tmp_path / "logs"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said.startswith("a witness of 1 logs on "), said
            yield f"{line} {said.split()[-1]}"
        finally:
            process.terminate()


def test_a_pilot_has_its_log_witnessed_and_a_shorter_one_is_found(var: Path, tmp_path: Path, witness: str) -> None:
    pilot = tmp_path / "pilot"
    shutil.copytree(PILOT, pilot)
    manifest = pilot / "pilot.yaml"
    manifest.write_text(manifest.read_text() + "\nadapters: {witnesses: policy}\n")
    (pilot / "policy").write_text(run("audit", "key", PILOT, "--var", var) + witness + "\nquorum witness.example/w\n")
    live = tmp_path / "more.ndjson"
    live.write_bytes((tmp_path / "live.ndjson").read_bytes().replace(b'"invoice": "', b'"invoice": "again-').replace(
        b'"invoice":"', b'"invoice":"again-'))
    before = tmp_path / "before"
    shutil.copytree(var, before)
    run("decide", pilot, "--data", live, "--var", var)
    found = json.loads(run("audit", "verify", pilot, "--var", var, "--policy", pilot / "policy", "--json"))[0]
    assert (found["checkpoints"], found["witnessed"]) == (2, 1)  # there was no witness when the first one was made
    said = run("audit", "verify", pilot, "--var", before, "--policy", pilot / "policy", code=1)
    assert "too few witnesses" in said
    seen = f"has seen {found['entries']} entries, other ones than this ledger's 400"
    assert seen in said  # a copy from a backup: whole, and too short
    proof = tmp_path / "w.tlog-proof"
    run("audit", "prove", pilot, "401", "--out", proof, "--var", var)
    assert "earlier ones: witness.example/w" in run("audit", "check", proof, "--policy", pilot / "policy")
