"""Loading and checking a workflow within another one."""

import shutil
from pathlib import Path

import pytest

from sluicegate.errors import Problem
from sluicegate.graphs.config import load as loading
from sluicegate.graphs.config.load import inspect, load
from tests.support.family import edit, family, kyc_of


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return family(tmp_path)


def problems(path: Path) -> list[Problem]:
    return [one for one in inspect(path)[1] if one.severity == "error"]


def only(path: Path) -> Problem:
    (found,) = problems(path)
    return found


def test_a_workflow_holds_its_children(claims: Path) -> None:
    workflow = load(claims)
    assert [one.name for one in workflow.family] == ["claims", "kyc"]
    node = workflow.flow.nodes["kyc"]
    assert node.writes == {"child", "answer", "checks", "documents", "earlier_documents"}
    assert node.always_writes == {"child"}  # a request that its gate denies is neither drafted for nor checked


def test_a_changed_child_changes_its_parent(claims: Path) -> None:
    before = load(claims).digest
    edit(kyc_of(claims), "guards: [length]", "guards: [length, secrets]")
    assert load(claims).digest != before
    edit(kyc_of(claims), "guards: [length, secrets]", "guards: [length]")
    assert load(claims).digest == before


def test_a_child_that_is_used_twice_is_loaded_once(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(claims, "go: respond}, {otherwise: refuse}]\n  respond", "go: again}, {otherwise: refuse}]\n  respond")
    onward = "[{when: \"child.status == 'answered'\", go: respond}, {otherwise: refuse}]"
    again = f"  again: {{kind: workflow, use: ../kyc/workflow.yaml, take: [answer], then: {onward}}}\n"
    edit(claims, "  respond:", f"{again}  respond:")
    read, real = list[Path](), loading.read_with_bases
    monkeypatch.setattr(loading, "read_with_bases", lambda path: (read.append(path), real(path))[1])
    workflow = load(claims)
    assert [path.parent.name for path in read] == ["claims", "kyc"]
    assert workflow.children["kyc"] is workflow.children["again"]


def test_what_is_wrong_with_a_child_is_said_of_its_file(claims: Path) -> None:
    edit(kyc_of(claims), "guards: [length]", "guards: [lenght]")
    found = only(claims)
    assert (found.code, found.suggestion) == ("SG116", "length")
    assert found.place is not None
    assert Path(found.place.file) == kyc_of(claims)


def test_a_child_that_is_not_there(claims: Path) -> None:
    edit(claims, "../kyc/workflow.yaml", "../kyx/workflow.yaml")
    found = only(claims)
    assert (found.code, found.message) == ("SG143", "no workflow '../kyx/workflow.yaml'")
    assert found.place is not None
    assert found.place.line == 13


def test_a_child_that_calls_its_parent(claims: Path) -> None:
    edit(
        kyc_of(claims),
        "draft: {kind: slm-answer, prompt: draft,",
        "draft: {kind: workflow, use: ../claims/workflow.yaml,",
    )
    found = problems(claims)[0]
    way = "claims/workflow.yaml -> kyc/workflow.yaml -> claims/workflow.yaml"
    assert (found.code, found.message) == ("SG143", f"a workflow that runs itself: {way}")
    assert found.place is not None
    assert Path(found.place.file) == kyc_of(claims)


def test_a_child_of_its_own(claims: Path) -> None:
    edit(claims, "../kyc/workflow.yaml", "workflow.yaml")
    assert only(claims).message.endswith("claims/workflow.yaml -> claims/workflow.yaml")


def test_a_child_of_its_parents_name(claims: Path) -> None:
    edit(kyc_of(claims), "workflow: kyc", "workflow: claims")
    assert only(claims).code == "SG143"


def test_children_within_children_come_to_an_end(claims: Path) -> None:
    folder, depth = claims.parents[1], 12
    for number in range(depth):
        level = shutil.copytree(claims.parent, folder / f"level{number}") / "workflow.yaml"
        edit(level, "workflow: claims", f"workflow: level{number}")
        edit(level, "../kyc/", f"../level{number + 1}/" if number < depth - 1 else "../kyc/")
    found = problems(folder / "level0" / "workflow.yaml")
    assert [one.code for one in found] == ["SG143"]
    assert found[0].message.startswith("more than 8 workflows")


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("take: [answer, checks]", "take: [answer, intents]", "SG107", '"intents" is not allowed'),
        ("take: [answer, checks]", "take: [answer, tool_calls]", "SG124", "no node of 'kyc' writes it"),
        ("\"'Identify: ' + request.text\"", '"size(request.text)"', "SG121", "gives a whole number, not text"),
        ("\"'Identify: ' + request.text\"", '"request.words"', "SG122", "unknown field 'request.words'"),
        ("\"'Identify: ' + request.text\"", '"answer.text"', "SG124", "answer.text has no value at 'kyc'"),
        ("child.status == 'answered'", "child.status == 'done'", "SG123", "child.status is never 'done'"),
    ],
)  # fmt: skip
def test_what_is_given_and_taken_is_checked(claims: Path, old: str, new: str, code: str, message: str) -> None:
    edit(claims, old, new)
    found = only(claims)
    assert found.code == code
    assert message in f"{found.message} {found.choices}"
    assert found.place is not None
    assert Path(found.place.file) == claims


def test_a_waiver_of_a_child_is_none_of_its_parent(claims: Path) -> None:
    """What a child may do without a check, its parent may not: the path that is shown goes through the child."""
    edit(kyc_of(claims), "prompt: draft, then: check}", "prompt: draft, then: respond}")
    for name in ("check", "approve"):
        text = kyc_of(claims).read_text()
        start = text.index(f"  {name}:")
        kyc_of(claims).write_text(text[:start] + text[text.index("  approve:" if name == "check" else "  respond:") :])
    waived = "waive: [{guarantee: checked-answers, reason: its parent checks the answer}]\n"
    edit(kyc_of(claims), "start: gate", f"{waived}start: gate")
    edit(claims, "take: [answer, checks]", "take: [answer]")
    found = only(claims)
    assert found.code == "SG134"
    assert "no generated answer is sent before an output-check; by the path gate, kyc, respond" in found.message
    edit(claims, "go: respond}", "go: check}")
    onward = "[{when: checks.failed, go: refuse}, {otherwise: respond}]"
    check = f"  check: {{kind: output-check, guards: [length], then: {onward}}}\n"
    edit(claims, "  respond:", f"{check}  respond:")
    assert problems(claims) == []


def test_a_tool_that_a_child_calls_is_called_in_its_parents_run(claims: Path) -> None:
    edit(claims, "otherwise: kyc}", "otherwise: ask}")
    ask = "  ask: {kind: human-interrupt, approvers: 'role:clerk', then: kyc}\n"
    edit(claims, "  kyc:\n", f"{ask}  kyc:\n")
    edit(kyc_of(claims), "prompt: draft, then: check}", "prompt: draft, then: act}")
    edit(kyc_of(claims), "  check:", "  act: {kind: call-tool, tool: create_ticket, then: check}\n  check:")
    (found,) = [one for one in problems(claims) if "rejected" in one.message]
    assert found.code == "SG134"
    assert "by the path gate, ask, kyc, kyc/gate, kyc/draft, kyc/act" in found.message


def test_a_branch_of_a_fork_has_no_place_for_a_workflow(claims: Path) -> None:
    edit(claims, "otherwise: kyc}", "otherwise: both}")
    tags = "{kind: tag, tags: {urgent: {describe: It is urgent}}, model: slm, then: last}"
    both = f"  both: {{kind: parallel, branches: [kyc, fields], join: last}}\n  fields: {tags}\n"
    edit(claims, "  kyc:\n", f"{both}  last: {{kind: policy-check, then: respond}}\n  kyc:\n")
    edit(claims, "go: respond}, {otherwise: refuse}]\n  respond", "go: last}, {otherwise: last}]\n  respond")
    assert "'kyc' in the branch 'kyc' of 'both' runs another workflow, for which a branch has no place" in [
        one.message for one in problems(claims)
    ]


INPUTS = """\
inputs:
  name: {type: string, describe: Who they say they are}
  age: {type: integer, optional: true}
  papers: {type: array, optional: true}
"""


def giving(claims: Path, more: str, inputs: str = INPUTS) -> Path:
    """The child declares inputs, and its parent gives it `more` beside the question."""
    edit(kyc_of(claims), "\nmodels:", f"\n{inputs}models:")
    edit(claims, 'request.text"}', f'request.text"{more}}}')
    return claims


def test_what_a_child_declares_may_be_given(claims: Path) -> None:
    giving(
        claims,
        ", language: request.language, name: request.text, age: request.size, papers: 'request.attachments[0].rows'",
    )
    kyc = kyc_of(claims)
    (kyc.parent / "prompts" / "draft.md").write_text("{{question}} {{inputs.name}}")
    edit(
        kyc, "go: refuse}, {otherwise: draft}]", "go: refuse}, {when: inputs.age > 3, go: refuse}, {otherwise: draft}]"
    )
    assert problems(claims) == []
    assert list(load(claims).gives["kyc"]) == ["question", "language", "name", "age", "papers"]
    assert problems(kyc) == []


@pytest.mark.parametrize(
    ("more", "code", "line", "message"),
    [
        (", nam: request.text, name: request.text", "SG105", 14, "'../kyc/workflow.yaml' takes no 'nam'"),
        ("", "SG106", 14, "needs 'name', Who they say they are (string)"),
        (", name: request.size", "SG121", 14, "gives a whole number, not text"),
        (", name: request.text, age: request.text", "SG121", 14, "gives text, not a whole number"),
        (", name: request.text, papers: request.text", "SG121", 14, "gives text, not a list"),
        (", name: answer.text", "SG124", 11, "answer.text has no value at 'kyc', which gives it as 'name'"),
        (", name: inputs.name", "SG123", 14, "inputs never has 'name'"),
    ],
)  # fmt: skip
def test_what_is_given_fits_what_is_declared(claims: Path, more: str, code: str, line: int, message: str) -> None:
    found = only(giving(claims, more))
    assert found.code == code
    assert message in found.message
    assert found.place is not None
    assert (Path(found.place.file), found.place.line) == (claims, line)


@pytest.mark.parametrize("name", ["question", "language", "a-b"])
def test_names_of_inputs(claims: Path, name: str) -> None:
    giving(claims, "", f"inputs: {{{name}: {{type: string, optional: true}}}}\n")
    assert only(claims).code == "SG107"


def test_only_declared_inputs_are_read(claims: Path) -> None:
    kyc = kyc_of(claims)
    edit(
        kyc, "go: refuse}, {otherwise: draft}]", "go: refuse}, {when: inputs.age > 3, go: refuse}, {otherwise: draft}]"
    )
    assert [one.code for one in problems(kyc)] == ["SG123"]
    edit(kyc, "inputs.age > 3", "size(inputs) > 3")
    assert [one.code for one in problems(kyc)] == ["SG124"]
    edit(kyc, "size(inputs) > 3", "policy.verdict == 'deny'")
    (kyc.parent / "prompts" / "draft.md").write_text("{{question}} {{inputs.nam}}")
    edit(kyc, "\nmodels:", f"\n{INPUTS}models:")
    (found,) = problems(kyc)
    assert (found.code, found.suggestion) == ("SG125", "inputs.name")


@pytest.mark.parametrize("to", ["kyc", "respond"])
def test_a_guarantee_may_ask_for_the_child_itself(to: str, claims: Path) -> None:
    edit(claims, "{otherwise: kyc}", f"{{when: request.size > 100, go: kyc}}, {{otherwise: {to}}}")
    claims.write_text(f"{claims.read_text()}\nguarantees: [{{no: respond, without: workflow}}]\n")
    assert [one.code for one in problems(claims)] == ([] if to == "kyc" else ["SG134"])
