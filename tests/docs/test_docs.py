"""The documentation runs, is complete, and builds."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from docs import reference
from flightworthy.integration.contract import _REASONS
from flightworthy.manifest.expressions import FUNCTIONS
from flightworthy.manifest.expressions.machine import _OPS
from flightworthy.manifest.load import parse
from flightworthy.manifest.schema import Manifest

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def _no_network(*_: object) -> None:
    raise AssertionError("documentation must not need a network")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_in_docs_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", _no_network)
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


def test_every_manifest_key_is_explained() -> None:
    words = (ROOT / "docs" / "manifest.md").read_text()
    assert [place for place, key in sorted(keys_of(Manifest)) if f"| `{key}` |" not in words] == []


def keys_of(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Path and name of every key, in all sections below a section."""
    for name, info in section.model_fields.items():
        key = info.alias or name
        yield f"{path}{key}", key
        for inner in sections_in(info.annotation):
            yield from keys_of(inner, f"{path}{key}.")


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections a type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for arg in get_args(annotation):
        yield from sections_in(arg)


def test_every_operator_is_explained() -> None:
    words = (ROOT / "docs" / "expressions.md").read_text()
    operators = set(_OPS) - set(FUNCTIONS) - {"const", "load"}
    assert [op for op in sorted(operators) if f"| `{op}` |" not in words] == []


def test_every_command_and_option_is_explained() -> None:
    words = (ROOT / "docs" / "cli.md").read_text()
    sections = {part.splitlines()[0]: part for part in re.split(r"^### ", words, flags=re.MULTILINE)}
    missing = []
    for path, command in reference.commands():
        section = sections.get(f"flightworthy {path}", "")
        options = [name for p in command.params if p.param_type_name == "option" for name in (*p.opts, *p.secondary_opts)]
        missing += [f"{path} {name}" for name in options if name != "--help" and f"`{name}`" not in section]
        missing += [] if section else [path]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_resolve(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link):
        other = (page.parent / target).resolve() if target else page
        assert other.is_file(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", other.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9-]+", "", title.lower().replace(" ", "-")) for title in titles}, f"{page.name}: #{anchor}"


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()


def test_every_metric_is_explained() -> None:
    from flightworthy.operation.service.metrics import Metrics

    page = (ROOT / "docs" / "service.md").read_text()
    names = [m.name + ("_total" if m.type == "counter" else "") for m in Metrics().registry.collect()]
    assert len(names) == 16
    assert [name for name in names if f"`{name}`" not in page] == []
    streams = re.findall(r'_(gauge|counter)\("(\w+)"', (ROOT / "src/flightworthy/operation/worker/metrics.py").read_text())
    page = (ROOT / "docs" / "stream.md").read_text()
    named = [f"flightworthy_stream_{name}{'_total' if kind == 'counter' else ''}" for kind, name in streams]
    assert len(named) == 9
    assert [name for name in [*named, "flightworthy_stream_quarantined_total", "flightworthy_stream_takeovers_total"]
            if f"`{name}`" not in page] == []
