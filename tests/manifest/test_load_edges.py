"""Manifests that are nearly right: one place, one problem, and the run goes on to the meaning."""

from __future__ import annotations

import pytest

from flightworthy.ground.errors import ManifestError, Problem
from flightworthy.manifest.load import parse
from tests.conftest import PILOTS

SOURCE = (PILOTS / "starter" / "pilot.yaml").read_text()


def problems(*changes: tuple[str, str]) -> list[Problem]:
    source = SOURCE
    for old, new in changes:
        assert old in source
        source = source.replace(old, new, 1)
    with pytest.raises(ManifestError) as caught:
        parse(source)
    return list(caught.value.problems)


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(SOURCE.splitlines(), 1) if text in line)


@pytest.mark.parametrize(("old", "new", "path", "says", "hint"), [
    ("lateness: 1d", "latenes: 1d", "events.latenes", "unknown key", "did you mean 'lateness'?"),
    ("lateness: 1d", "lateness: 1 fortnight", "events.lateness", "unknown unit 'fortnight'", ""),
    ("holdout: 20%", "holdout: 0.2", "rollout.holdout", "percentage", ""),
    ("holdout: 20%", "holdout: 120%", "rollout.holdout", "less than or equal to 1", ""),
    ("holdout: 20%", "holdout: abc%", "rollout.holdout", "", ""),
    ("holdout: 20%", "holdout: '%'", "rollout.holdout", "", ""),
    ("by: customer\n", "by: custmer\n", "features.groups.history.by", "unknown entity 'custmer'", "did you mean 'customer'?"),
    ("mean(amount)", "mean(amuont)", "features.groups.customer.aggregate.mean_amount", "unknown field 'amuont'",
     "did you mean 'amount'?"),
    ("mean(amount)", "mean(terms)", "features.groups.customer.aggregate.mean_amount", "mean of a category", ""),
    ("n: count()", "n: number()", "features.groups.customer.aggregate.n", "unknown operation 'number'", ""),
    ("      delay: 30d", "      delay: 30d\n      limit: 5000", "features.groups.history.limit", "not a power of two", "use 8192"),
    ("[90d, 365d]", "[90d, 90d]", "features.groups.customer.windows", "listed twice", ""),
    ("amount / customer.mean_amount_365d", "amount / customer.mean_amount_36d", "features.derived.amount_ratio",
     "unknown name 'customer.mean_amount_36d'", "did you mean 'customer.mean_amount_365d'?"),
    ("score * 0.02 * amount > 1.5", "score * 0.02 * amount", "policy.rules[0].if", "expected boolean, this is number", ""),
    ("amount > 4000", "terms == 'net31'", "policy.baseline[0].if", "'net31' is not one of", "did you mean 'net30'?"),
    ("amount > 4000, then: remind", "amount > 4000, then: remnid", "policy.baseline[0].then", "unknown action 'remnid'",
     "did you mean 'remind'?"),
    ("fallback: [previous, baseline]", "fallback: [baseline, previous]", "policy.fallback", "cannot fail",
     "end it with baseline or a rule such as {then: review}"),
    ("delay: 30d, absent", "delay: 30d, horizon: 29d, absent", "outcomes.horizon", "shorter than the delay of 30d", ""),
    ("{type: decimal, scale: 2", "{type: number, scale: 2", "events.fields.amount.scale", "'scale' does not apply to number",
     "for number: max, min"),
    ("currency: EUR", "currency: euro", "objective.currency", "match pattern", ""),
    ("pilot: starter", "pilot: -starter", "pilot", "match pattern", ""),
    ("flightworthy: 1", "flightworthy: 2", "flightworthy", "should be 1", ""),
    ("baseline:\n    - {if: amount > 4000, then: remind}\n    - {then: wait}", "baseline:\n    - {if: amount > 4000, then: remind}",
     "policy.baseline[0]", "only the last rule has no condition", "end with a rule such as {then: approve}"),
    ("invoice: {type: text}", "invoice: {type: text, pattern: '[a-z'}", "events.fields.invoice.pattern", "not a regular", ""),
])
def test_one_mistake_has_one_place(old: str, new: str, path: str, says: str, hint: str) -> None:
    """Path, line, message and hint of a single mutation."""
    found = [p for p in problems((old, new)) if p.path == path]
    assert len(found) == 1
    assert says in found[0].message
    assert found[0].hint == hint or not hint
    first = SOURCE[:SOURCE.index(old)].count("\n") + 1
    assert first <= found[0].line <= first + new.count("\n") + 1


def test_mistakes_of_shape_and_of_meaning_come_in_one_report() -> None:
    found = problems(("lateness: 1d", "latenes: 1d"), ("holdout: 20%", "holdout: 2"), ("adverse: [remind]", "adverse: [remnd]"),
                     ("n: count()", "n: total()"))
    assert [p.path for p in found] == ["events.latenes", "features.groups.customer.aggregate.n", "policy.adverse[0]",
                                       "rollout.holdout"]


def test_a_binary_model_needs_a_boolean_label() -> None:
    found = {p.path: p for p in problems(("label: late, type: boolean", "label: late, type: number"))}
    assert found["model.objective"].hint == "add target: late > 0"
    assert set(found) == {"model.objective", "outcomes.label", "outcomes.absent", "objective.value[0].when", "objective.value[1].when"}


def test_a_missing_key_is_reported_at_its_section() -> None:
    found = problems(("  kpi: cost of late payment\n", ""))
    assert [(p.path, p.message, p.line) for p in found] == [("objective.kpi", "this key is missing", line_of("kpi:"))]


def test_a_mistake_in_a_fallback_rule_has_a_path_of_the_manifest() -> None:
    """Branches of a union are no places in the text."""
    found = problems(("[previous, baseline]", "[previous, {then: remind, iff: late}]"))
    assert {p.path for p in found} <= {"policy.fallback", "policy.fallback[1]", "policy.fallback[1].iff"}
    assert any(p.path == "policy.fallback[1].iff" and p.message == "unknown key" for p in found)


def test_a_bad_parameter_has_a_path_of_the_manifest() -> None:
    assert {p.path for p in problems(("num_leaves: 15", "num_leaves: {a: 1}"))} == {"model.params.num_leaves"}


def test_a_bad_name_of_a_field_has_a_path_of_the_manifest() -> None:
    found = problems(("    terms: {type", "    my-terms: {type"))
    assert {p.path for p in found} == {"events.fields.my-terms"}


def test_a_wrong_value_of_a_union_does_not_hide_other_mistakes() -> None:
    found = problems(("absent: false", "absent: maybe"), ("adverse: [remind]", "adverse: [remnd]"))
    assert {p.path for p in found} == {"outcomes.absent", "policy.adverse[0]"}


@pytest.mark.parametrize("pattern", ["(?i)[a-z]+", "(?x)[a-z]+ # letters"])
def test_a_pattern_the_contract_cannot_compile_is_refused_or_works(pattern: str) -> None:
    """Never an exception when the contract is compiled after the manifest was said to hold."""
    from flightworthy.integration.contract import Contract

    try:
        pilot = parse(SOURCE.replace("invoice: {type: text}", f"invoice: {{type: text, pattern: '{pattern}'}}"))
    except ManifestError:
        return
    record = {"invoice": "abc", "issued": "2024-01-01T00:00:00Z", "customer_id": "c", "amount": 1.0, "terms": "net14"}
    assert Contract(pilot).read(record).invoice == "abc"


@pytest.mark.parametrize(("old", "new"), [("terms: {type", "action: {type"), ("terms: {type", "quantity: {type"),
                                          ("{label: late,", "{label: quantity,")])
def test_names_the_value_formula_reserves_are_refused(old: str, new: str) -> None:
    """A field called `action` would be shadowed where money is counted."""
    assert problems((old, new), ("mean(late)", "mean(amount)"), ("late and action", "amount > 1 and action"),
                    ("when: late,", "when: amount > 1,"))


def test_two_columns_of_one_name_are_refused() -> None:
    """`n` over 90d and an aggregate called `n_90d` are both `customer.n_90d`."""
    assert problems(("since_last: since_last()}", "n_90d: last(amount)}"))


def test_a_default_outcome_has_the_type_of_the_label() -> None:
    assert [p.path for p in problems(("absent: false", "absent: 5"))] == ["outcomes.absent"]


def test_the_digest_ignores_the_description_and_the_adapters() -> None:
    base = parse(SOURCE).digest
    assert parse(SOURCE.replace("description: Remind", "description: Tell")).digest == base
    assert parse(SOURCE + "\nadapters: {models: 'file:///elsewhere'}\n").digest == base
    for old, new in (("> 1.5", "> 1.6"), ("holdout: 20%", "holdout: 21%"), ("worth: \"-1.5\"", "worth: \"-1.6\""),
                     ("say: Earlier", "say: Older"), ("max: 1000000", "max: 1000001")):
        assert parse(SOURCE.replace(old, new, 1)).digest != base
