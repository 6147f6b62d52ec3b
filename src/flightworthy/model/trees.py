"""LightGBM's trees as arrays, walked eight at a time.

A walk down a tree waits for memory and for guessed branches at every node; eight walks side by side wait together, and none of
them branches. The answer has the bits of LightGBM's own: the same comparisons, and a row's trees are added in their order.

The text and the meaning of its fields are those of LightGBM 4 (https://github.com/microsoft/LightGBM, ``src/io/tree.cpp``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flightworthy.model.runtime import Floats, Predictor, as_inputs
from flightworthy.model.walk import FEATURE, walk

_CATEGORICAL, _DEFAULT_LEFT, _MISSING_ZERO, _MISSING_NAN = 1, 2, 4, 8
_TRIED = 256  # rows
_SIGMOID = re.compile(r"binary sigmoid:([0-9.eE+-]+)")


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees, leaves included, siblings side by side.

    width: inputs of a row · roots (trees, and seven more to fill the last eight) · tests (nodes): a value above it goes to the
    second child · ways (nodes): the feature, whether what is not known goes to the second child, the first child; a leaf leads
    to itself whatever the value, so that a walk may go on without asking · values (nodes): of leaves · sigmoid: 0 for a
    regression.
    """

    width: int
    roots: NDArray[np.uint64]
    tests: Floats
    ways: NDArray[np.uint64]
    values: Floats
    sigmoid: float

    def predict(self, x: Floats) -> Floats:
        """(n, inputs) → (n,). Releases the interpreter while it works."""
        data = as_inputs(x, self.width)
        out = np.zeros(len(data))
        walk(data.reshape(-1), self.width, self.roots, self.tests, self.ways, self.values, self.sigmoid, out)
        return out

    def agrees(self, other: Predictor) -> bool:
        """Whether both give the same bits where they would differ first: at the limits of the tests, just above, and where
        nothing is known."""
        rng = np.random.default_rng(0)
        inner = np.flatnonzero(np.isfinite(self.tests))
        x = rng.normal(size=(_TRIED, self.width))
        if len(inner):
            nodes = rng.choice(inner, x.shape)
            at, test = (self.ways[nodes] >> FEATURE).astype(np.int64), self.tests[nodes]
            kind = rng.integers(3, size=x.shape)
            x[np.arange(_TRIED)[:, None], at] = np.choose(kind, [test, np.nextafter(test, np.inf), np.nan])
        return self.predict(x).tobytes() == other.predict(x).tobytes()


def forest(text: str) -> Forest | None:
    """The forest of a model's text, or None when it has something that only LightGBM itself knows: tests of categories, zero as
    "missing", linear leaves, averaged trees, several classes, other objectives."""
    head, _, rest = text.partition("\nTree=")
    lines = _fields(head)
    squash = _SIGMOID.fullmatch(lines.get("objective", ""))
    trees = [_fields(part) for part in rest.partition("\nend of trees")[0].split("\nTree=")] if rest else []
    width = int(lines.get("max_feature_idx", -1)) + 1
    known = (squash is not None or lines.get("objective") == "regression") and "average_output" not in lines \
        and lines.get("num_tree_per_iteration") == "1" and all(_plain(tree, width) for tree in trees)
    if not known:
        return None
    return _joined(width, trees, float(squash.group(1)) if squash else 0.0)


def damage(text: str) -> str:
    """What is wrong with the structure of a model's text, in words; empty when nothing is. The C library takes it on trust:
    with a wrong index it reads beyond its memory."""
    head, _, rest = text.partition("\nTree=")
    try:
        width = int(_fields(head)["max_feature_idx"]) + 1
        trees = [_fields(part) for part in rest.partition("\nend of trees")[0].split("\nTree=")] if rest else []
        broken = next((number for number, tree in enumerate(trees) if not _whole(tree, width)), None)
    except (KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if "\nend of trees" not in text:
        return "it ends within a tree"
    return "" if broken is None else f"tree {broken} does not hang together"


def _whole(tree: dict[str, str], width: int) -> bool:
    """Whether all that a tree points to is there."""
    features, flags, left, right = _tests(tree)
    inner, limits = len(features), [float(word) for word in tree.get("threshold", "").split()]
    below = [*range(-inner - 1, 0), *range(1, inner)] if inner else []
    sets = [int(word) for word in tree.get("cat_boundaries", "0").split()]
    bits = [int(word) for word in tree.get("cat_threshold", "").split()]
    return (int(tree["num_leaves"]) == inner + 1 == len([float(word) for word in tree["leaf_value"].split()])
            and all(0 <= feature < width for feature in features) and sorted(left + right) == below
            and len(flags) == len(limits) == inner and int(tree.get("num_cat", "0")) == len(sets) - 1
            and sets == sorted(sets) and sets[0] == 0 and sets[-1] == len(bits)
            and all(0 <= limit < len(sets) - 1 for flag, limit in zip(flags, limits, strict=True) if flag & _CATEGORICAL))


def _fields(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines())


def _plain(tree: dict[str, str], width: int) -> bool:
    """Whether a tree has only tests we know, of inputs that exist, and every node but the first hangs below one other."""
    features, flags, left, right = _tests(tree)
    inner = len(features)
    below = [*range(-inner - 1, 0), *range(1, inner)] if inner else []
    return (tree.get("is_linear", "0") == "0" and not any(flag & (_CATEGORICAL | _MISSING_ZERO) for flag in flags)
            and all(0 <= feature < width for feature in features) and sorted(left + right) == below
            and len(flags) == len(tree.get("threshold", "").split()) == inner
            and len(tree.get("leaf_value", "").split()) == inner + 1)


def _tests(tree: dict[str, str]) -> list[list[int]]:
    """Of the inner nodes: inputs, kinds, children."""
    return [[int(word) for word in tree.get(name, "").split()]
            for name in ("split_feature", "decision_type", "left_child", "right_child")]


def _joined(width: int, trees: list[dict[str, str]], sigmoid: float) -> Forest:
    roots: list[int] = []
    nodes: list[tuple[float, int, float]] = []  # test, way, value
    for tree in trees:
        first = len(nodes)
        roots.append(first)
        nodes += [(test, feature << 33 | unknown << 32 | first + child, value)
                  for test, feature, unknown, child, value in _nodes(tree)]
    roots += roots[-1:] * 7 or [0] * 7
    tests, ways, values = zip(*nodes, strict=True) if nodes else ((), (), ())
    return Forest(width, np.array(roots, np.uint64), np.array(tests, np.float64), np.array(ways, np.uint64),
                  np.array(values, np.float64), sigmoid)


def _nodes(tree: dict[str, str]) -> list[tuple[float, int, int, int, float]]:
    """(test, feature, unknown, first child, value) of each node, level by level."""
    feature, flags, left, right = _tests(tree)
    threshold, value = ([float(word) for word in tree.get(name, "").split()] for name in ("threshold", "leaf_value"))
    made: list[tuple[float, int, int, int, float]] = []
    order = [0 if feature else -1]  # as LightGBM counts: inner nodes from 0 on, leaves from -1 down
    for place, node in enumerate(order):
        if node < 0:
            made.append((math.inf, 0, 0, place, value[~node]))
            continue
        # Where the test knows no "missing", what is not known counts as zero.
        unknown = not (flags[node] & _DEFAULT_LEFT if flags[node] & _MISSING_NAN else threshold[node] >= 0.0)
        made.append((threshold[node], feature[node], int(unknown), len(order), 0.0))
        order += [left[node], right[node]]
    return made
