"""YAML to plain values, with the place of every key and value.

Plain scalars follow YAML 1.2 (``no`` is a word, not false). Anchors, tags and duplicate keys are refused: a manifest
reads the same to every person and program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from flightworthy.ground.errors import Problem

Path = tuple[str | int, ...]
_INTEGER = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}
_REFUSED = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)
MAX_BYTES, MAX_DEPTH = 1 << 20, 30


@dataclass
class Text:
    """A parsed document: ``value`` in plain types, ``marks`` from path to (line, column), both from 1."""

    value: Any = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def mark(self, path: Path) -> tuple[int, int]:
        """Place of a path, or of the nearest parent that is in the text."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (1, 1))

    def problem(self, path: Path, message: str, **detail: str) -> Problem:
        """A problem at a path."""
        line, column = self.mark(path)
        return Problem(say_path(path), line, column, message, **detail)


def say_path(path: Path) -> str:
    """A path as people write it.

    >>> say_path(("policy", "rules", 0, "if"))
    'policy.rules[0].if'
    """
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else str(part))
    return out


def read(source: str) -> Text:
    """Parse YAML text; mistakes of syntax are returned as problems, never raised."""
    text = Text()
    if len(source.encode()) > MAX_BYTES:
        text.problems.append(Problem("", 1, 1, f"larger than {MAX_BYTES} bytes"))
        return text
    try:
        text.problems += [Problem("", t.start_mark.line + 1, t.start_mark.column + 1, "anchors, aliases and tags are not allowed",
                                  hint="write the value out") for t in yaml.scan(source) if isinstance(t, _REFUSED)]
        node = yaml.compose(source, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        text.problems.append(Problem("", line, column, f"not YAML: {getattr(error, 'problem', None) or error}"))
        return text
    except RecursionError:
        text.problems.append(Problem("", 1, 1, f"nested deeper than {MAX_DEPTH}"))
        return text
    text.value = _build(node, (), text, set()) if node is not None else None
    return text


def _build(node: yaml.Node, path: Path, text: Text, seen: set[int]) -> Any:
    text.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if id(node) in seen:
        return None
    seen.add(id(node))
    if len(path) > MAX_DEPTH:
        text.problems.append(text.problem(path, f"nested deeper than {MAX_DEPTH}"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, text, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, index), text, seen) for index, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(node: yaml.MappingNode, path: Path, text: Text, seen: set[int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        place = (*path, key)
        if key in out:
            text.marks[place] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            text.problems.append(text.problem(place, "this key is written twice", hint="keep one of them"))
            continue
        out[key] = _build(value_node, place, text, seen)
    return out


def _scalar(node: yaml.Node) -> Any:
    value = str(node.value)
    if getattr(node, "style", None) is not None:
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _INTEGER.fullmatch(value) and len(value) < 20:
        return int(value)
    if _FLOAT.fullmatch(value):
        return float(value)
    return value
