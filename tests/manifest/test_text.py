"""YAML as plain values with places; windows and aggregates."""

from __future__ import annotations

import pytest

from flightworthy.manifest.columns import Aggregate, Column, Window, aggregate, columns_of, window
from flightworthy.manifest.text import MAX_DEPTH, read, say_path


def test_plain_words_follow_yaml_1_2() -> None:
    source = "[no, yes, off, on, 1, -2, +3, 1.5, .5, 1e3, 0x10, 0o7, .inf, 1_000, 12:30, 2026-01-01, ~, null, true, 'true', \"1\"]"
    assert read(source).value == ["no", "yes", "off", "on", 1, -2, 3, 1.5, 0.5, 1000.0, "0x10", "0o7", ".inf", "1_000", "12:30",
                                  "2026-01-01", None, None, True, "true", "1"]


def test_places_of_keys_and_values_count_from_one() -> None:
    text = read("a:\n  b: [1, two]\n  c: x\n")
    assert text.problems == []
    assert {place: text.marks[place] for place in text.marks if place} == {
        ("a",): (2, 3), ("a", "b"): (2, 6), ("a", "b", 0): (2, 7), ("a", "b", 1): (2, 10), ("a", "c"): (3, 6)}
    assert text.mark(("a", "b", 9, "z")) == (2, 6)
    assert say_path(("policy", "rules", 0, "if")) == "policy.rules[0].if"


def test_a_key_written_twice_is_marked_at_the_second() -> None:
    text = read("a: 1\nb:\n  c: 1\n  c: 2\n")
    assert [(p.path, p.line, p.column) for p in text.problems] == [("b.c", 4, 3)]
    assert text.value == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize("source", [
    "a: &x 1\nb: *x", "a: &x 1", "&x a: *x", "a: [&x b]", "a: &x {b: *x}", "a: !!str no", "a: !!python/object:os.system x",
    "a: !mine {b: 1}", "base: &b {x: 1}\nc:\n  <<: *b",
])
def test_anchors_aliases_and_tags_are_refused(source: str) -> None:
    """The module promises it: a manifest reads the same to every person and program."""
    assert read(source).problems


@pytest.mark.parametrize(("source", "says"), [
    ("a: [1\nb: 2", "not YAML"), ("a: 1\n---\nb: 2", "not YAML"), ("a: \x00", "not YAML"), ("\ta: 1", "not YAML"),
    ("x" * ((1 << 20) + 1), "larger than"), ("[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5), "nested deeper"),
    ("[" * 5000, "nested deeper"), ("a: \"\\q\"", "not YAML"),
])
def test_broken_deep_or_huge_text_is_one_problem_never_an_exception(source: str, says: str) -> None:
    text = read(source)
    assert any(says in p.message for p in text.problems)
    assert all(p.line >= 1 and p.column >= 1 for p in text.problems)


def test_windows() -> None:
    assert window("7d") == Window(604_800_000_000, False, "7d")
    assert window("1.5 h") == Window(5_400_000_000, False, "1p5h")
    assert window(" 10 events ") == Window(10, True, "10e")
    assert window("1 event") == Window(1, True, "1e")
    for wrong in ("0d", "0 events", f"{(1 << 20) + 1} events", "7", "events", "-1d"):
        with pytest.raises(ValueError, match=r"empty|window holds|not a duration"):
            window(wrong)


def test_aggregates() -> None:
    assert aggregate(" mean( amount ) ") == Aggregate("mean", "amount")
    assert (aggregate("count()"), aggregate("count(x)"), aggregate("age()")) == (
        Aggregate("count", None), Aggregate("count", "x"), Aggregate("age", None))
    for wrong, says in (("mean", "write an operation"), ("mean(a, b)", "write an operation"), ("median(a)", "unknown operation"),
                        ("age(a)", "takes no field"), ("mean()", "needs a field"), ("mean(a) + 1", "write an operation")):
        with pytest.raises(ValueError, match=says):
            aggregate(wrong)


def test_columns_stand_by_window_then_those_without() -> None:
    spans = [window("1d"), window("2 events")]
    made = columns_of("g", spans, {"n": aggregate("count()"), "l": aggregate("last(x)"), "m": aggregate("mean(x)")})
    assert [c.name for c in made] == ["g.n_1d", "g.m_1d", "g.n_2e", "g.m_2e", "g.l"]
    assert made[-1] == Column("g.l", "g", Aggregate("last", "x"), None)
