"""The documentation runs, is complete, and builds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import reference
from flightworthy.integration.contract import _REASONS
from flightworthy.manifest.expressions import FUNCTIONS
from flightworthy.manifest.load import parse

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_in_docs_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    text = page.read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, str(page), "exec"), space)  # noqa: S102 - our own documentation
    for block in re.findall(r"```yaml\n(flightworthy: 1.*?)```", text, re.DOTALL):
        assert parse(block).name


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == reference.PAGES[name]() + "\n", "run: python docs/reference.py"


def test_functions_and_reasons_are_documented() -> None:
    words = (ROOT / "docs" / "expressions.md").read_text()
    assert [f for f in FUNCTIONS if f"`{f}(" not in words] == []
    words = (ROOT / "docs" / "contract.md").read_text()
    reasons = {reason for _, reason in _REASONS} | {"encoding", "malformed", "too_large", "duplicate_key", "scale", "time_bounds",
                                                    "late", "id_conflict", "outcome", "no_decision", "duplicate"}
    assert [r for r in reasons if f"`{r}`" not in words] == []


def test_make_targets_are_documented() -> None:
    targets = re.findall(r"^((?:bench|crash|fuzz|demo)[a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = (ROOT / "docs" / "benchmarks.md").read_text()
    assert [t for t in targets if f"`make {t}" not in words] == []


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
