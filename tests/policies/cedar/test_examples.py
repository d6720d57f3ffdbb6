"""Example decisions written beside the policies."""

from pathlib import Path

import pytest

from sluicegate.errors import ConfigError
from sluicegate.policies.cedar.engine import load_engine
from sluicegate.policies.cedar.examples import read_examples, run_examples
from sluicegate.policies.cedar.sources import BASE


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "examples.yaml"
    path.write_text(text, "utf-8")
    return path


def test_base_policies_decide_as_their_examples_say() -> None:
    outcomes = run_examples(load_engine(), read_examples(BASE / "examples.yaml"), workflow="w")
    assert [outcome.example.name for outcome in outcomes if not outcome.passed] == []
    assert {rule.id for rule in load_engine().rules} <= {outcome.example.rule for outcome in outcomes}


@pytest.mark.parametrize(
    ("row", "passed"),
    [
        ("{principal: {id: a}, expect: allow}", True),
        ("{principal: {id: a}, expect: allow, rule: base.ask}", True),
        ("{principal: {id: a}, expect: allow, rule: other}", False),
        ("{principal: {id: a}, expect: deny}", False),
        ("{principal: {id: a}, action: see_trace, resource: {type: Run, id: r, requester: b}, expect: deny}", True),
        ("{principal: {id: a}, context: {hour: late}, expect: deny}", True),
        ("{principal: {id: a}, context: {hour: late}, expect: deny, rule: default}", False),
    ],
)  # fmt: skip
def test_an_example_passes_only_by_its_verdict_and_rule(tmp_path: Path, row: str, passed: bool) -> None:
    (outcome,) = run_examples(load_engine(), read_examples(written(tmp_path, f"- {row}")), workflow="w")
    assert outcome.passed == passed


def test_every_bad_row_is_reported_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path, "- {principal: {id: a}, expect: allow}\n- {expect: maybe}\n\n- {principal: {id: a}}\n- 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_examples(path)
    assert [(p.code, p.place.line if p.place else 0, p.message.split(":")[0]) for p in caught.value.problems] == [
        ("SG140", 2, "principal"), ("SG140", 2, "expect"), ("SG140", 4, "expect"),
        ("SG140", 5, "Input should be a valid dictionary or instance of Example"),
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "code"), [("", "SG140"), ("a: 1", "SG140"), ("- [", "SG102")])
def test_a_file_that_holds_no_examples(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_examples(written(tmp_path, text))
    assert caught.value.code == code


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_examples(tmp_path / "none.yaml")
    assert caught.value.code == "SG101"
