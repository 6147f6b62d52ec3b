"""Writes the generated pages of the documentation: manifest keys, commands. A test holds them to the code.

Usage: python docs/reference.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from flightworthy.cli.main import app
from flightworthy.manifest.schema import Manifest, json_schema

HERE = Path(__file__).parent


def manifest_page() -> str:
    """Every key of the manifest, section by section."""
    schema = json_schema()
    parts = ["# Manifest keys", "", "Generated from the schema that `flightworthy check` uses; `flightworthy schema` prints it as JSON "
             "Schema for editors.", ""]
    for name, section in [("Manifest", schema), *sorted(schema["$defs"].items())]:
        title = "pilot.yaml" if name == "Manifest" else name
        parts += [f"## {title}", "", str(section.get("description", "")), "", "| key | type | default | meaning |", "|---|---|---|---|"]
        required = set(section.get("required", ()))
        for key, spec in section["properties"].items():
            default = "required" if key in required else _code(spec.get("default"))
            parts.append(f"| `{key}` | {_type(spec)} | {default} | {_cell(spec.get('description', ''))} |")
        parts.append("")
    return "\n".join(parts)


def commands_page() -> str:
    """Every command with its arguments and options."""
    parts = ["# Commands", "", "Generated from the program itself.", ""]
    for path, command in commands():
        parts += [f"## flightworthy {path}", "", (command.help or "").strip(), ""]
        rows = [f"| `{' '.join(p.opts) if p.param_type_name == 'option' else p.name.upper()}` | {_cell(getattr(p, 'help', '') or '')} |"
                for p in command.params if p.name != "help"]
        parts += [*(["| argument or option | meaning |", "|---|---|", *rows, ""] if rows else [])]
    return "\n".join(parts)


def commands() -> list[tuple[str, Any]]:
    """Leaf commands with their path."""
    def walk(prefix: str, command: Any) -> list[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            return [(prefix.strip(), command)]
        return [leaf for name, child in sorted(children.items()) for leaf in walk(f"{prefix} {name}", child)]

    return walk("", typer.main.get_command(app))


def _type(spec: dict[str, Any]) -> str:
    if "$ref" in spec:
        return _link(spec["$ref"])
    if "anyOf" in spec:
        return " or ".join(dict.fromkeys(_type(s) for s in spec["anyOf"] if s.get("type") != "null"))
    if "enum" in spec:
        return ", ".join(f"`{v}`" for v in spec["enum"])
    if "const" in spec:
        return f"`{spec['const']}`"
    kind = spec.get("type", "any")
    if kind == "array":
        return f"list of {_type(spec.get('items', {}))}"
    if kind == "object":
        inner = spec.get("additionalProperties") or next(iter(spec.get("patternProperties", {}).values()), {})
        return f"map to {_type(inner) if isinstance(inner, dict) else 'any'}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _link(ref: str) -> str:
    name = ref.rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _code(value: Any) -> str:
    return "" if value is None else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"reference/manifest.md": manifest_page, "reference/commands.md": commands_page}

if __name__ == "__main__":
    assert issubclass(Manifest, BaseModel)
    for name, make in PAGES.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(make() + "\n", encoding="utf-8")
