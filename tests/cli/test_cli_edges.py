"""What goes wrong at the terminal goes wrong in one line, with exit code 2."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flightworthy import __version__
from flightworthy.cli.main import app, main
from tests.conftest import PILOTS, Trained

STARTER = str(PILOTS / "starter")


def failed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that must end with exit code 2; its message on the error stream."""
    monkeypatch.setattr(sys, "argv", ["flightworthy", *args])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    return err


@pytest.mark.parametrize(("args", "says"), [
    (["demo", "frud"], "did you mean 'fraud'?"), (["explain", "nowhere"], "nowhere: 1 problem"),
    (["train", STARTER, "--data", "none.csv"], "none.csv: no such file"),
    (["decide", STARTER, "--data", "mqtt://x"], "no adapter for 'mqtt:'"), (["replay", STARTER, "--var", "VAR"], "there is no ledger here"),
    (["quarantine", "list", STARTER, "--var", "VAR"], "there is no ledger here"),
    (["model", "rollback", STARTER, "--var", "VAR"], "there is no previous champion"),
    (["quarantine", "retry", STARTER, "--with", "x.json", "--var", "VAR"], "give its id"),
])
def test_errors_are_said_on_the_error_stream(args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    message = failed(monkeypatch, capsys, *[str(tmp_path) if a == "VAR" else a for a in args])
    assert message.startswith("error: ")
    assert says in message


@pytest.mark.parametrize("args", [["unknown"], ["check"], ["demo", "--seed", "x"], ["quarantine", "show", STARTER, "x"]])
def test_wrong_usage_is_exit_code_two(args: list[str]) -> None:
    assert CliRunner().invoke(app, args).exit_code == 2


def test_version_and_check() -> None:
    assert CliRunner().invoke(app, ["version"]).output == f"{__version__}\n"
    assert "starter: fine; 5 fields, 8 features" in CliRunner().invoke(app, ["check", STARTER]).output
    assert CliRunner().invoke(app, ["check", "nowhere"]).exit_code == 1


@pytest.mark.parametrize("name", ["my pilot", "1st", "café", "-dash", "x" * 70, "Überweisung"])
def test_a_new_pilot_holds_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    assert CliRunner().invoke(app, ["new", "--", str(tmp_path / name)]).exit_code == 0
    done = CliRunner().invoke(app, ["check", str(tmp_path / name)])
    assert done.exit_code == 0, done.output


def test_a_new_pilot_is_not_written_over_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep").write_text("x")
    (tmp_path / "empty").mkdir()
    assert "the folder is not empty" in failed(monkeypatch, capsys, "new", str(tmp_path / "full"))
    assert failed(monkeypatch, capsys, "new", str(tmp_path / "full" / "keep"))
    assert (tmp_path / "full" / "keep").read_text() == "x"
    assert CliRunner().invoke(app, ["new", str(tmp_path / "empty")]).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "empty").iterdir()) == ["pilot.yaml", "simulate.py"]


def test_options_that_cannot_be_read_are_errors(starter_trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    var = tmp_path / "var"
    shutil.copytree(starter_trained.var, var)
    data = str(starter_trained.data / starter_trained.made["history"])
    assert "cannot read the outcomes" in failed(monkeypatch, capsys, "train", STARTER, "--data", data, "--outcomes", "none", "--var", str(var))
    live = tmp_path / "live.ndjson"
    live.write_bytes(b"broken\n")
    assert CliRunner().invoke(app, ["decide", STARTER, "--data", str(live), "--var", str(var)]).exit_code == 0
    assert "not an instant" in failed(monkeypatch, capsys, "value", STARTER, "--var", str(var), "--at", "soon")
    assert "no such record" in failed(monkeypatch, capsys, "quarantine", "show", STARTER, "99", "--var", str(var))
    assert failed(monkeypatch, capsys, "quarantine", "retry", STARTER, "1", "--with", str(tmp_path / "none"), "--var", str(var))
