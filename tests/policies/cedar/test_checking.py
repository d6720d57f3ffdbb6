"""Policies that may not decide: every fault at once, with file, line and column."""

import pytest

from sluicegate.errors import PolicyError
from sluicegate.policies.cedar.checking import check
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files


def problems(text: str) -> list[str]:
    return [str(problem) for problem in check([PolicyFile("own.cedar", text)], base_schema())[1]]


ASK = 'permit (principal, action == Action::"ask", resource)'


def test_base_policies_are_clean() -> None:
    rules, found = check(policy_files(), base_schema())
    assert found == []
    assert all(rule.id.startswith("base.") and rule.reason for rule in rules)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'@id("a")\n{ASK}\nwhen {{ context.intnt == "x" }};',
         'own.cedar:3:16: SG201 attribute `intnt` in context for Action::"ask" not found; did you mean \'intent\'?'),
        ('@id("a")\npermit (principal, action == Action::"aks", resource);',
         'own.cedar:2:38: SG201 unrecognized action `Action::"aks"`; did you mean \'ask\'?'),
        (f'@id("a")\n{ASK}\nwhen {{ context.hour == "x" }};',
         "own.cedar:1:1: SG201 the types Long and String are not compatible"),
        (f'@id("a")\n{ASK}\nwhen {{ context.time > datetime("2026-01-01") }};',
         ('own.cedar:3:16: SG201 unable to guarantee safety of access to optional attribute `time` in context for '
         'Action::"ask"')),
        (f'// ; a comment\n@id("a;b")\n{ASK}\nwhen {{ resource. }};', "own.cedar:4:18: SG201 unexpected token `}`"),
        (f'@id("a")\n{ASK}\nwhn {{ true }};', "own.cedar:3:1: SG201 invalid policy condition: whn"),
        (f'@id("a")\n{ASK}\nwhen {{ foo(1) }};', "own.cedar:3:8: SG201 `foo` is not a valid function"),
        (f'@id("a")\n{ASK}', "own.cedar:2:53: SG201 unfinished policy. End it with ';'"),
        (f'@id("a")\n{ASK} when {{ context.risk == "low }};', "own.cedar:2:78: SG201 invalid token"),
        (f"{ASK};",
         ('own.cedar:1:1: SG201 policy without @id. Put @id("name") before it: the audit log names the policies '
         "that decided")),
        (f'@id("") {ASK};',
         ('own.cedar:1:1: SG201 policy without @id. Put @id("name") before it: the audit log names the policies '
         "that decided")),
        (f'@id("a") {ASK};\n\n  @id("a") {ASK};',
         "own.cedar:3:3: SG201 @id 'a' is already taken by the policy at own.cedar:1:1"),
        (f'@id("a") @id("b") {ASK};', "own.cedar:1:1: SG201 duplicate annotation: @id"),
        ('@id("t") permit (principal == ?principal, action, resource);',
         "own.cedar:1:1: SG201 templates are not supported. Write out principal and resource"),
        (f'@id("a")\n{ASK} when {{ context.risk == "\u202ewol" }};',
         "own.cedar:2:79: SG201 invisible direction mark U+202E: the text does not read as it is evaluated"),
        (f'@id("n")\n{ASK} when {{ context.hour > 3 && false }};',
         "own.cedar:1:1: SG201 policy 'n' can never apply: no request meets its conditions"),
        (f'@id("n")\n{ASK} when {{ resource is Document }};',
         "own.cedar:1:1: SG201 policy 'n' can never apply: no request meets its conditions"),
    ],
)  # fmt: skip
def test_fault_and_place(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_a_policy_that_never_applies_is_a_warning_and_loads() -> None:
    text = f'@id("n") {ASK} when {{ false }};'
    engine = CedarEngine([PolicyFile("own.cedar", text)])
    assert [warning.severity for warning in engine.warnings] == ["warning"]


def test_a_policy_whose_scope_fits_no_action_is_an_error() -> None:
    (found,) = problems('@id("n") permit (principal is Role, action, resource);')
    assert "unable to find an applicable action" in found


def test_all_faults_of_all_files_are_reported_at_once() -> None:
    files = [
        PolicyFile("a.cedar", f'@id("x") {ASK};\n@id("y") {ASK} when {{ context.nope }};'),
        PolicyFile("b.cedar", f'@id("x") {ASK};\npermit(;\n@id("z") {ASK} when {{ 1 == 1 }};'),
    ]
    with pytest.raises(PolicyError) as caught:
        CedarEngine(files)
    assert caught.value.code == "SG201"
    places = [line.split(": ")[0].removeprefix("SG201 ") for line in caught.value.message.splitlines()]
    assert places == ["a.cedar:2:79", "b.cedar:1:1", "b.cedar:2:8"]


def test_the_same_id_in_base_and_workflow_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"own.cedar:1:1: @id 'base.ask' is already taken by the policy at base/"):
        CedarEngine([*policy_files(), PolicyFile("own.cedar", f'@id("base.ask") {ASK};')])
