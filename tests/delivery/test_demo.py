"""The demonstration end to end, and its report in a real browser without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flightworthy.cli.main import app
from tests.conftest import PILOTS


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demonstration of the starter pilot."""
    out = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(app, ["demo", str(PILOTS / "starter"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.slow
def test_the_summary_says_what_happened(shown: Path) -> None:
    found = json.loads((shown / "summary.json").read_text())
    assert found["decisions"] > 4000
    assert found["replay_mismatches"] == 0
    assert found["value_low"] < found["value"] < found["value_high"]
    assert 0 <= found["detection_rate"] <= 1
    assert {"command", "versions", "cores", "date", "false_positive_ratio", "decisions_per_second"} <= found.keys()


@pytest.mark.slow
def test_the_report_holds_everything_and_fetches_nothing(shown: Path) -> None:
    page = (shown / "report.html").read_text()
    assert "Simulated data" in page
    assert page.count("<svg") >= 4
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#)[^"']*""", page) == []
    for word in ("Objective", "Value", "Detection", "Quarantine", "Features that matter", "Evidence"):
        assert f"<h2>{word}" in page


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_browser_shows_it_without_errors(shown: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--disable-component-update", "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1200,2600", f"--screenshot={picture}", f"file://{shown / 'report.html'}"],
        capture_output=True, text=True, timeout=90, check=False)
    assert picture.stat().st_size > 50_000
    assert "CONSOLE" not in done.stderr
