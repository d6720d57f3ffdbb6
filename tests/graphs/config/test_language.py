"""What a config may not say although it parses: names, fields and verdicts that mean something else, or nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from sluicegate.errors import Problem
from sluicegate.graphs.config.load import inspect
from tests.support.plugged import kind, plugged

FOLDER = Path(__file__).parent / "workflow"


WEIGH = kind("weigh", {"extra"}, extra={"large": bool, "colour": Literal["red", "blue"], "grams": float})


@pytest.fixture(autouse=True)
def weighing() -> Iterator[None]:
    with plugged(WEIGH):
        yield


def checked(tmp_path: Path, over: str) -> list[Problem]:
    """The problems of the workflow with `over` laid over it."""
    folder = tmp_path / "workflow"
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "over.yaml").write_text(f"extends: workflow.yaml\n{over}")
    return inspect(folder / "over.yaml")[1]


def weighed(then: str) -> str:
    return f"""
nodes:
  recall: {{then: weigh}}
  weigh: {{kind: weigh, then: {then}}}
  answer: {{then: check}}
"""


def test_a_declared_field_of_a_plugin_is_one_like_the_others(tmp_path: Path) -> None:
    assert (
        checked(
            tmp_path,
            weighed("""[{when: "extra.large && extra.colour == 'red'", go: approve},
      {when: "extra.grams < 1.0", go: approve}, {otherwise: facts}]"""),
        )
        == []
    )


@pytest.mark.parametrize(
    ("condition", "code", "suggestion"),
    [
        ("extra.larg", "SG122", "extra.large"),
        ("!extra.larg", "SG122", "extra.large"),
        ("has(extra.larg) && extra.larg", "SG122", "extra.large"),
        ("extra['larg']", "SG122", None),
        ("extra.colour == 'rad'", "SG123", "red"),
        ("extra.grams == 'heavy'", "SG121", None),
    ],
)
def test_a_misspelt_field_of_a_plugin_is_an_error(
    tmp_path: Path, condition: str, code: str, suggestion: str | None
) -> None:
    problem = checked(tmp_path, weighed(f'[{{when: "{condition}", go: approve}}, {{otherwise: facts}}]'))[0]
    assert (problem.code, problem.severity, problem.suggestion) == (code, "error", suggestion)


def test_a_plugins_field_has_no_value_before_its_node(tmp_path: Path) -> None:
    (problem,) = checked(
        tmp_path, """nodes: {recall: {then: [{when: "extra.large", go: approve}, {otherwise: facts}]}}"""
    )
    assert (problem.code, problem.hint) == ("SG124", "Add a node that writes it")


def test_opposites_of_a_plugins_field_are_not_exhaustive_since_it_may_be_unwritten(tmp_path: Path) -> None:
    (problem,) = checked(
        tmp_path, weighed("""[{when: "extra.large", go: approve}, {when: "!extra.large", go: facts}]""")
    )
    assert problem.code == "SG132"


@pytest.mark.parametrize("name", ["__start__", "__end__", "__pregel_push", "__own"])
def test_names_of_the_runtime_are_reserved(tmp_path: Path, name: str) -> None:
    problem = checked(
        tmp_path, f"nodes: {{recall: {{then: {name}}}, {name}: {{kind: retrieve, index: kb, then: facts}}}}"
    )[0]
    assert problem.code == "SG107"
    assert f"the node name {name!r} is reserved" in problem.message


def split(*conditions: str) -> str:
    return "[" + ", ".join(f'{{when: "{condition}", go: answer}}' for condition in conditions) + "]"


@pytest.mark.parametrize(
    ("branches", "total"),
    [
        (split("retrieval.best_score < 0.5", "retrieval.best_score >= 0.5"), True),
        (split("retrieval.best_score <= 0.5 || retrieval.best_score > 0.5"), True),
        (split("retrieval.count > 2", "retrieval.count <= 2"), True),
        (split("retrieval.best_score < 0.5", "retrieval.best_score > 0.5"), False),
        (split("retrieval.count > 2", "retrieval.count < 2"), False),
        (split("intent.confidence < 0.5", "intent.confidence >= 0.5"), True),
        (split("intent.confidence < router.threshold", "intent.confidence >= router.threshold"), True),
        (split("intent.confidence < router.threshold", "intent.confidence > router.threshold"), False),
        (split("request.channel == 'web'", "request.channel != 'web'"), True),
        (split("request.channel in ['web', 'mail']", "request.channel != 'web' && request.channel != 'mail'"), True),
        (split("request.channel == 'web'", "request.channel == 'mail'"), False),
        (split("'lead' in principal.roles", "!('lead' in principal.roles)"), True),
        (split("cache.age_s < 9.0", "cache.age_s >= 9.0"), True),
        (split("cache.similarity < 0.9", "cache.similarity >= 0.9"), False),
    ],
)
def test_intervals_of_numbers_that_are_certainly_written(tmp_path: Path, branches: str, total: bool) -> None:
    over = f"""
nodes:
  facts: {{then: {branches}}}
  answer: {{then: check}}
  check: {{then: [{{when: "checks.failed || intent.risk == 'high'", go: approve}}, {{otherwise: respond}}]}}
  synthesize: null
"""
    codes = {problem.code for problem in checked(tmp_path, over) if problem.severity == "error"}
    assert codes == (set() if total else {"SG132"})


def test_a_verdict_that_an_earlier_node_left_is_a_warning(tmp_path: Path) -> None:
    over = """
nodes:
  check: {then: again}
  again: {kind: retrieve, index: kb, then: [{when: "checks.failed", go: approve}, {otherwise: approve}]}
"""
    (problem,) = [one for one in checked(tmp_path, over) if one.code == "SG126"]
    assert problem.severity == "warning"
    assert (
        problem.message == "checks.failed at 'again' is the verdict that 'check' left: 'again' reaches none of its own"
    )


TOOL = """
nodes:
  act: {tool: create_ticket, say: "%s", then: look}
  look: {kind: output-check, guards: [secrets], then: [{when: "checks.failed", go: refuse}, {otherwise: approve}]}
"""


@pytest.mark.parametrize(
    ("say", "suggestion"),
    [("{{titel}}", "title"), ("{{result.idd}}", "result.id"), ("{{question}}", None), ("{{resultt}}", "result")],
)
def test_what_a_tool_node_says_is_filled_from_its_arguments_and_result(
    tmp_path: Path, say: str, suggestion: str | None
) -> None:
    (problem,) = checked(tmp_path, TOOL % f"Opened: {say}")
    assert (problem.code, problem.severity, problem.suggestion) == ("SG125", "error", suggestion)
    assert problem.place is not None
    assert problem.place.column > 40
    assert checked(tmp_path, TOOL % "{{title}} is {{result.id}} ({{ result.status }})") == []


@pytest.mark.parametrize(
    ("fields", "suggestion"),
    [("{categry: hardware}", "category"), ("{category: hardwear}", "hardware"), ("{title: a, owner: b}", None)],
)
def test_what_an_intent_gives_its_tool_fits_the_tools_schema(
    tmp_path: Path, fields: str, suggestion: str | None
) -> None:
    (problem,) = checked(tmp_path, f"intents: {{access_request: {{fields: {fields}}}}}")
    assert (problem.code, problem.severity, problem.suggestion) == ("SG127", "error", suggestion)
    assert checked(tmp_path, "intents: {access_request: {fields: {category: hardware, details: '{{question}}'}}}") == []


def test_an_extracted_field_that_no_tool_takes_is_a_warning(tmp_path: Path) -> None:
    over = """
nodes:
  gate:
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {when: "intent.task == 'tool'", go: read}
      - {otherwise: recall}
  read: {kind: extract, prompt: extract, fields: {type: object, properties: {titel: {type: string}}}, then: act}
"""
    (tmp_path / "workflow" / "prompts").mkdir(parents=True)
    (tmp_path / "workflow" / "prompts" / "extract.md").write_text("{{question}} {{fields}}")
    (problem,) = checked(tmp_path, over)
    assert (problem.code, problem.severity, problem.suggestion) == ("SG127", "warning", "title")


def test_approvers_whom_no_policy_permits_are_an_error(tmp_path: Path) -> None:
    only_leads = """@id("leads")
forbid (principal, action == Action::"approve", resource) unless { principal in Role::"helpdesk-lead" };
"""
    (tmp_path / "workflow" / "policies").mkdir(parents=True)
    (tmp_path / "workflow" / "policies" / "own.cedar").write_text(only_leads)
    assert checked(tmp_path, "") == []
    (problem,) = checked(tmp_path, 'nodes: {approve: {approvers: "role:helpdesk-led"}}')
    assert (problem.code, problem.severity, problem.suggestion) == ("SG128", "error", "role:helpdesk-lead")
    (problem,) = checked(tmp_path, 'nodes: {approve: {escalate_to: "group:helpdesk-lead"}}')
    assert (problem.code, problem.choices) == ("SG128", ())
    (problem,) = checked(tmp_path, 'nodes: {approve: {escalate_to: "user:ann"}}')
    assert problem.code == "SG138"


def test_a_cache_without_a_node_that_looks_it_up_is_an_error(tmp_path: Path) -> None:
    over = "nodes: {recall: null, gate: {then: [{when: \"policy.verdict == 'deny'\", go: refuse}, {otherwise: facts}]}}"
    (problem,) = [one for one in checked(tmp_path, over) if one.code == "SG107"]
    assert "no node looks answers up" in problem.message
    assert not [one for one in checked(tmp_path, over + "\ncache: {answers: off}") if one.code == "SG107"]


@pytest.mark.parametrize(
    ("reader", "meant"), [("hr", "write role:hr, group:hr"), ("evryone", "write everyone"), ("role:", "")]
)
def test_a_bare_reader_is_an_error(tmp_path: Path, reader: str, meant: str) -> None:
    (problem,) = checked(tmp_path, f"indexes: {{kb: {{readers: [everyone, '{reader}']}}}}")
    assert (problem.code, problem.severity) == ("SG107", "error")
    assert meant in problem.message


@pytest.mark.parametrize(
    ("over", "code", "says"),
    [
        ("nodes: {respond: {retry: {times: 2}}}", "SG105", "respond ends a run and cannot have `retry`"),
        ("nodes: {respond: {on_error: refuse}}", "SG105", "respond ends a run and cannot have `on_error`"),
        ("nodes: {respond: {timeout: 2s}}", "SG105", "respond ends a run and cannot have `timeout`"),
        (
            "nodes: {approve: {retry: {times: 2}}}",
            "SG105",
            "human-interrupt waits for a person and cannot have `retry`",
        ),
        ("nodes: {facts: {on_error: refuze}}", "SG111", "unknown node 'refuze'"),
        ("nodes: {facts: {retry: {times: 0}}}", "SG107", "0 should be greater than or equal to 1"),
        ("nodes: {facts: {retry: {times: 1, causes: [stopped]}}}", "SG107", '"stopped" is not allowed here'),
        ("nodes: {facts: {timeout: soon}}", "SG107", "'soon' is not a duration"),
        ("nodes: {check: {on_error: respond}}", "SG134", "check to respond by on_error"),
    ],
)
def test_what_a_node_may_say_of_its_failures(tmp_path: Path, over: str, code: str, says: str) -> None:
    assert any(each.code == code and says in each.message for each in checked(tmp_path, over))


def test_failures_may_be_told_apart(tmp_path: Path) -> None:
    over = """
nodes:
  facts: {timeout: 20s, retry: {times: 2, causes: [unavailable], backoff: 0.5s}, on_error: late}
  late: {kind: tag, of: request, tags: {urgent: {describe: "it is urgent"}}, then: [
    {when: "failure.cause == 'timeout'", go: refuse}, {otherwise: approve}]}
"""
    assert checked(tmp_path, over) == []
    problems = checked(tmp_path, over.replace("'timeout'", "'slow'"))
    assert [(each.code, each.suggestion) for each in problems] == [("SG123", None)]
    unread = checked(tmp_path, over.replace("on_error: late", "then: late"))
    assert "SG124" in [each.code for each in unread]
