"""Values that no request has, and conditions that never hold: errors with the nearest; what can hold raises none."""

from pathlib import Path

import pytest

from sluicegate.graphs.config.load import inspect
from sluicegate.policies.cedar.checking import check
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files
from sluicegate.policies.cedar.values import World

ROOT = Path(__file__).parents[3]
WORLD = World.of(
    intents=("complaint", "access_request", "printing"),
    risks=("low", "medium", "high"),
    guards=("pii", "injection"),
    entities={"Workflow": ("desk",), "Tool": ("create_ticket",), "Model": ("openai:gpt-5-mini", "ollama:qwen3")},
    indexes=("kb",),
    named={"Role": ("contractor", "hr"), "Group": ("berlin",)},
    zone="Europe/Zurich",
)


def errors(condition: str, action: str = "ask", scope: str = "principal") -> list[str]:
    text = f'@id("a") forbid ({scope}, action == Action::"{action}", resource) {condition};'
    _, problems = check([*policy_files(), PolicyFile("own.cedar", text)], base_schema(), WORLD)
    return [str(problem) for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize(
    ("condition", "action", "message", "near"),
    [
        ('when { context.intent == "complant" }', "ask", 'context.intent is never "complant"', "complaint"),
        ('when { "complant" == context["intent"] }', "ask", 'context.intent is never "complant"', "complaint"),
        ('when { context.intent != "complant" }', "ask", 'context.intent is never "complant"', "complaint"),
        ('unless { context.intent == "complant" }', "ask", 'context.intent is never "complant"', "complaint"),
        ('when { !(context.hour > 3 && context.risk == "hig") }', "ask", 'context.risk is never "hig"', "high"),
        ('when { ["complaint", "printng"].contains(context.intent) }', "ask", 'is never "printng"', "printing"),
        ('when { if context.risk == "mdium" then true else false }', "ask", 'is never "mdium"', "medium"),
        ('when { context.data_classes.contains("pi") }', "ask", 'context.data_classes never has "pi"', "pii"),
        ('when { context.data_classes.containsAny(["pii", "injecton"]) }', "ask", 'never has "injecton"', "injection"),
        ('when { context has risk && context.risk == "hgh" }', "use_model", 'is never "hgh"', "high"),
        ('when { resource has provider && resource.provider == "opnai" }', "use_model", '"opnai"', "openai"),
        ('when { resource == Model::"ollama:qwen" }', "use_model", "no request has the model", "ollama:qwen3"),
        ('when { resource in Workflow::"dsk" }', "ask", "no request has the workflow 'dsk'", "desk"),
        ('when { resource == Tool::"create_tickt" }', "call_tool", "no request has the tool", "create_ticket"),
        ('when { [Tool::"create_tickt"].contains(resource) }', "call_tool", "the tool", "create_ticket"),
        ('when { principal in Role::"contracter" }', "ask", "no request has the role 'contracter'", "contractor"),
        ('when { principal in [Role::"hr", Role::"contratcor"] }', "ask", "'contratcor'", "contractor"),
        ('when { principal in Group::"berln" }', "ask", "no request has the group 'berln'", "berlin"),
        ('when { principal.labels.contains("role:contracter") }', "ask", "'contracter'", "contractor"),
        ('when { principal in Role::"auditr" }', "ask", "no request has the role 'auditr'", "auditor"),
        ('when { resource has index && resource.index == "kbs" }', "read_document", 'is never "kbs"', "kb"),
        ('when { context.stage == "requst" }', "see_redacted", 'context.stage is never "requst"', "request"),
    ],
)
def test_a_value_that_no_request_has_is_an_error_with_the_nearest(
    condition: str, action: str, message: str, near: str
) -> None:
    (error,) = errors(condition, action)
    assert message in error
    assert f"did you mean '{near}'?" in error
    assert error.startswith("own.cedar:1:")


def test_an_attribute_of_something_else_is_not_its_own_nearest() -> None:
    (error,) = errors('when { resource.provider == "openai" }')
    assert error.endswith("attribute `provider` on entity type `Workflow` not found")
    (error,) = errors("when { context.clasification == 1 }")
    assert error.endswith("did you mean 'classification'?")


def test_the_scope_is_read_too() -> None:
    (error,) = errors("", scope='principal in Role::"contracter"')
    assert "did you mean 'contractor'?" in error


@pytest.mark.parametrize(
    ("condition", "action"),
    [
        ("when { context.hour > 23 }", "ask"),
        ("when { context.hour == 24 }", "ask"),
        ('when { context.hour < 0 || context.risk == "low" }', "ask"),
        ("when { context.hour > 22 && context.hour < 6 }", "ask"),
        ('when { (context.hour > 22 && context.hour < 6) || context.risk == "high" }', "ask"),
        ("when { context.hour + 1 > 24 }", "ask"),
        ("when { !(context.hour < 24) }", "ask"),
        ("when { context.hour > 20 } unless { context.hour > 10 }", "ask"),
        ("unless { context.hour >= 0 }", "ask"),
        ('when { context.risk == "high" && context.risk == "low" }', "ask"),
        ('when { context.risk like "H*" }', "ask"),
        ('when { context.intent like "comp*" && context.intent == "printing" }', "ask"),
        ("when { context has classification && context.classification > 3 }", "use_model"),
        ("when { principal.clearance < 0 }", "ask"),
        ("when { resource.classification >= 4 }", "read_document"),
        ("when { context has hour && context.hour >= 24 }", "call_tool"),
    ],
)
def test_a_condition_that_never_holds_is_an_error(condition: str, action: str) -> None:
    (error,) = errors(condition, action)
    assert "can never be so" in error
    assert error.startswith("own.cedar:1:")


def test_what_the_field_may_be_and_its_zone_are_said() -> None:
    (error,) = errors("when { context.hour > 23 }")
    assert "context.hour is 0 to 23, Europe/Zurich" in error


@pytest.mark.parametrize(
    ("condition", "action"),
    [
        ("when { context.hour > 22 || context.hour < 6 }", "ask"),
        ('when { context.intent == "" }', "ask"),
        ('when { !(context.risk == "high") && context.hour >= 23 }', "ask"),
        ('when { context.risk == "high" } unless { principal in Role::"hr" }', "ask"),
        ('when { context.channel == "pigeon" }', "ask"),
        ('when { principal in Role::"wizard" }', "ask"),
        ('when { principal == User::"complant" }', "ask"),
        ('when { resource == Document::"kb-1" && resource.readers.contains("everyone") }', "read_document"),
        ("when { principal.clearance < resource.classification }", "read_document"),
        ('when { context has intent && ["complaint", "printing"].contains(context.intent) }', "use_model"),
        ('when { context.risk like "h*" && principal.labels.containsAny(["role:hr", "user:ann"]) }', "ask"),
        ('when { if context.hour > 12 then context.risk == "low" else context.risk == "high" }', "ask"),
        ('when { context has time && context.time > datetime("2026-01-01") && context.hour == 5 }', "ask"),
        ("when { context.hour * 2 == 46 }", "ask"),
        ("when { context.data_classes.isEmpty() }", "ask"),
        ('when { principal in Role::"hr-2" || principal in Role::"hr-3" }', "ask"),
    ],
)
def test_what_can_hold_is_no_error(condition: str, action: str) -> None:
    assert errors(condition, action) == []


@pytest.mark.parametrize("config", sorted(ROOT.glob("configs/**/workflow.yaml")), ids=lambda path: path.parent.name)
def test_no_false_alarm_on_what_is_shipped(config: Path) -> None:
    _, problems = inspect(config)
    assert [str(problem) for problem in problems if problem.code == "SG201"] == []


def test_a_workflow_is_checked_with_its_own_values(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "workflow.yaml").write_text(
        f"extends: {ROOT}/configs/helpdesk/workflow.yaml\nworkflow: desk\nversion: '1'\n"
        "policy: {time_zone: Europe/Zurich, roles: [staff, contractor, helpdesk-lead]}\n"
    )
    (folder / "policies").mkdir()
    (folder / "policies" / "own.cedar").write_text(
        '@id("own.night") @reason("no") forbid (principal in Role::"employee", action, resource)\n'
        'when { resource in Workflow::"helpdesk" };\n'
        '@id("own.hour") @reason("no") forbid (principal, action == Action::"ask", resource)\n'
        'when { context.intent == "prnting" || context.hour > 24 };\n'
    )
    _, problems = inspect(folder / "workflow.yaml")
    told = [str(problem).split("own.cedar:")[1] for problem in problems if problem.code == "SG201"]
    assert [each.partition(" ")[0] for each in told] == ["1:59:", "2:30:", "4:26:"]
    assert "no request has the role 'employee'" in told[0]
    assert "no request has the workflow 'helpdesk'" in told[1]
    assert "did you mean 'printing'?" in told[2]


def test_an_unknown_zone_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "workflow.yaml"
    config.write_text(f"extends: {ROOT}/configs/helpdesk/workflow.yaml\npolicy: {{time_zone: Europe/Zurch}}\n")
    _, problems = inspect(config)
    assert any("'Europe/Zurch' is no time zone; did you mean 'Europe/Zurich'?" in str(each) for each in problems)
