"""The command line, as a newcomer uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from docs.reference import commands
from typer.testing import CliRunner

from flightworthy.cli.main import app
from flightworthy.ground.errors import DataError
from tests.conftest import PILOTS, Trained

RUN = CliRunner()


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_every_command_has_help(path: str) -> None:
    done = RUN.invoke(app, [*path.split(), "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys; sys.argv=['flightworthy','--help']\nfrom flightworthy.cli.main import app\ntry: app()\nexcept SystemExit: pass\n"
            "heavy={'numpy','numba','lightgbm','pydantic','msgspec','duckdb','matplotlib','yaml'} & set(sys.modules)\n"
            "sys.exit(repr(heavy) if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_check_reports_mistakes_with_exit_code_one(tmp_path: Path) -> None:
    assert RUN.invoke(app, ["check", str(PILOTS / "fraud")]).exit_code == 0
    broken = tmp_path / "pilot.yaml"
    broken.write_text((PILOTS / "fraud" / "pilot.yaml").read_text().replace("lateness", "latenes"))
    done = RUN.invoke(app, ["check", str(broken)])
    assert done.exit_code == 1
    assert "did you mean 'lateness'?" in done.output


def test_schema_and_explain_print() -> None:
    assert json.loads(RUN.invoke(app, ["schema"]).output)["title"] == "flightworthy pilot"
    assert "control group" in RUN.invoke(app, ["explain", str(PILOTS / "turbofan")]).output


def test_a_new_pilot_holds_and_is_not_made_twice(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert RUN.invoke(app, ["new", str(folder)]).exit_code == 0
    assert "mine: fine" in RUN.invoke(app, ["check", str(folder)]).output
    done = RUN.invoke(app, ["new", str(folder)])
    assert isinstance(done.exception, DataError)


def test_errors_go_to_stderr_with_exit_code_two(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "from flightworthy.cli.main import main; main()", "value", str(PILOTS / "starter"),
                           "--var", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no ledger here" in done.stderr
    assert "run the pilot first" in done.stderr


def test_train_decide_value_replay_and_quarantine(starter_trained: Trained, tmp_path: Path) -> None:
    made, data, var = starter_trained.made, starter_trained.data, ["--var", str(tmp_path / "var")]
    pilot = str(PILOTS / "starter")
    trained = RUN.invoke(app, ["train", pilot, "--data", str(data / made["history"]), "--outcomes",
                               str(data / made["history_outcomes"]), *var])
    assert trained.exit_code == 0, trained.output
    digest = trained.output.split()[1]
    assert (tmp_path / "var" / "models" / f"{digest}.md").read_text().startswith("# Model card")
    live = tmp_path / "live.ndjson"
    live.write_bytes((data / made["live"]).read_bytes() + b'{"invoice": broken\n')
    decided = RUN.invoke(app, ["decide", pilot, "--data", str(live), "--outcomes", str(data / made["live_outcomes"]), *var])
    assert "all durable" in decided.output
    again = RUN.invoke(app, ["decide", pilot, "--data", str(live), *var])
    assert again.output.startswith("0 decisions")
    worth = json.loads(RUN.invoke(app, ["value", pilot, *var, "--at", made["now"], "--json"]).stdout)
    assert worth["decisions"] > 500
    said = RUN.invoke(app, ["value", pilot, *var]).output
    assert "earned against the holdout" in said
    assert (worth["fewest"] < 60) == (worth["effect"]["low"] is None) == ("no interval against the holdout yet" in said)
    assert RUN.invoke(app, ["replay", pilot, *var]).exit_code == 0
    assert json.loads(RUN.invoke(app, ["replay", pilot, *var, "--json"]).stdout)["mismatches"] == 0
    listed = RUN.invoke(app, ["quarantine", "list", pilot, *var, "--limit", "1000"]).output
    broken = next(line for line in listed.splitlines() if "malformed  " in line).split()[0]
    assert '{"invoice": broken' in RUN.invoke(app, ["quarantine", "show", pilot, broken, *var]).output
    assert RUN.invoke(app, ["quarantine", "retry", pilot, *var]).output.startswith("0 admitted")
    repaired = tmp_path / "repaired.json"
    repaired.write_bytes(starter_trained.lines("live", 1)[0])
    assert "1 admitted" in RUN.invoke(app, ["quarantine", "retry", pilot, broken, "--with", str(repaired), *var]).output
    other = next(line.split()[0] for line in listed.splitlines() if line.split()[0].isdigit() and "Z" in line
                 and line.split()[0] != broken)
    assert "is discarded" in RUN.invoke(app, ["quarantine", "discard", pilot, other, *var]).output
    assert "no such record is held" in str(RUN.invoke(app, ["quarantine", "discard", pilot, other, *var]).exception)
    assert f"id {other}, discarded" in RUN.invoke(app, ["quarantine", "show", pilot, other, *var]).output
    assert digest[:12] in RUN.invoke(app, ["model", "list", pilot, *var]).output
    assert isinstance(RUN.invoke(app, ["model", "rollback", pilot, *var]).exception, DataError)
