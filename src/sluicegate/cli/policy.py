"""`sluicegate policy`: run the example decisions of the policies, and explain one decision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.policies.cedar.engine import CedarEngine
    from sluicegate.state import Principal

__all__ = ["app"]

app = typer.Typer(help="Test and explain policies.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="Workflow file, or its folder.")]


@app.command("test")
def run_tests(config: Config, as_json: AsJson = False) -> None:
    """Run the examples in policies/examples.yaml; exits with 1 when one is not decided as expected."""
    from sluicegate.policies.cedar.examples import read_examples, run_examples

    workflow, engine = _opened(config)
    path = workflow.policy_folder / "policies" / "examples.yaml"
    outcomes = run_examples(engine, read_examples(path), workflow=workflow.name)
    failed = sum(not outcome.passed for outcome in outcomes)
    rows = [
        {
            "passed": outcome.passed,
            "name": outcome.example.name or f"{outcome.example.principal.id} {outcome.example.action}",
            "action": outcome.example.action,
            "expected": outcome.example.expect,
            "expected_rule": outcome.example.rule,
            "decided": "allow" if outcome.decision.allowed else "deny",
            "rules": list(outcome.decision.rules),
            "reason": outcome.decision.reason,
            "errors": list(outcome.decision.errors),
        }
        for outcome in outcomes
    ]
    warnings = [str(warning) for warning in engine.warnings]
    if as_json:
        emit({"workflow": workflow.name, "failed": failed, "examples": rows, "warnings": warnings})
    else:
        _table(rows)
        console().print(f"{len(rows) - failed} of {len(rows)} as expected" + _warned(warnings))
    raise typer.Exit(1 if failed else 0)


@app.command()
def explain(
    config: Config,
    user: Annotated[str, typer.Option("--as", help="Id of the principal.")] = "someone",
    role: Annotated[list[str] | None, typer.Option(help="Role of the principal (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group of the principal (repeatable).")] = None,
    clearance: Annotated[str, typer.Option(help="public, internal, confidential or restricted.")] = "internal",
    action: Annotated[
        str,
        typer.Option(help="ask, read_document, use_model, call_tool, call_unattended, approve, see_trace or operate."),
    ] = "ask",
    resource: Annotated[str, typer.Option(help="Type:id, such as Tool:create_ticket; the workflow by default.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="Attribute of the resource, NAME=VALUE with VALUE in YAML (repeatable).")
    ] = None,
    intent: Annotated[str, typer.Option(help="Intent of the workflow; its risk is filled in.")] = "",
    context: Annotated[
        list[str] | None, typer.Option(help="Attribute of the context, NAME=VALUE with VALUE in YAML (repeatable).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which rule decides one request, and why; exits with 0 for an allow and 1 for a deny."""
    from sluicegate.policies.cedar.examples import completed_context

    workflow, engine = _opened(config)
    facts: dict[str, Any] = {}
    if intent:
        facts = {"intent": intent}
        if intent in workflow.config.intents:
            facts["risk"] = workflow.config.intents[intent].risk
    facts |= _pairs(context)
    kind, _, name = resource.partition(":") if resource else ("Workflow", ":", workflow.name)
    what = {"type": kind, "id": name, **_pairs(attribute)}
    principal: Any = {"id": user, "roles": role or [], "groups": group or [], "clearance": clearance}
    completed = ("ask", "call_tool", "call_unattended", "approve", "operate")
    asked = completed_context(action, facts) if action in completed else facts
    found = _explained(engine, principal, action, what, asked)
    if as_json:
        emit(found)
    else:
        _say(found)
    raise typer.Exit(0 if found["decision"] == "allow" else 1)


def _opened(config: Path) -> "tuple[Workflow, CedarEngine]":
    from sluicegate.graphs.config.load import load
    from sluicegate.policies.cedar.engine import CedarEngine

    workflow = load(config / "workflow.yaml" if config.is_dir() else config)
    return workflow, CedarEngine(workflow.resolved.policies, schema=workflow.resolved.schema)


def _pairs(given: list[str] | None) -> dict[str, Any]:
    import yaml

    pairs: dict[str, Any] = {}
    for pair in given or []:
        name, divider, value = pair.partition("=")
        if not divider:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
        pairs[name] = yaml.safe_load(value)
    return pairs


def _explained(
    engine: "CedarEngine", principal: "Principal", action: str, resource: dict[str, Any], context: dict[str, Any]
) -> dict[str, Any]:
    decision = engine.decide(principal, action, resource, context)
    considered = engine.consider(principal, action, resource, context)
    return {
        "decision": "allow" if decision.allowed else "deny",
        "rules": list(decision.rules),
        "reason": decision.reason,
        "errors": list(decision.errors),
        "principal": principal,
        "action": action,
        "resource": resource,
        "context": context,
        "policies": [
            {
                "id": each.rule.id,
                "effect": each.rule.effect,
                "applies": each.applies,
                "decides": each.rule.id in decision.rules,
                "reason": each.rule.reason,
                "place": str(each.rule.place),
                "error": each.error,
            }
            for each in considered
        ],
    }


def _say(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    colour = "green" if found["decision"] == "allow" else "red"
    rules = ", ".join(found["rules"]) or "no policy allows it"
    screen.print(f"[bold {colour}]{found['decision']}[/] {escape(rules)}: {escape(found['reason'])}")
    for error in found["errors"]:
        screen.print(f"  {error}", markup=False, style="red")
    table = Table("policy", "effect", "applies", "reason", "where")
    for column in table.columns:
        column.overflow = "fold"
    for policy in found["policies"]:
        applies = "error" if policy["error"] else "yes" if policy["applies"] else "no"
        style = "bold" if policy["decides"] else "" if policy["applies"] else "dim"
        cells = [policy["id"], policy["effect"], applies, policy["reason"], policy["place"]]
        table.add_row(*map(escape, cells), style=style)
    screen.print(table)


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "example", "action", "expected", "decided", "rules", "reason")
    for column in table.columns:
        column.overflow = "fold"  # rule names must not be cut: they are searched for
    for row in rows:
        mark = "[green]ok[/]" if row["passed"] else "[bold red]FAILED[/]"
        expected = " ".join(filter(None, [row["expected"], row["expected_rule"]]))
        why = row["reason"] + "".join(f" ({error})" for error in row["errors"])
        cells = [row["name"], row["action"], expected, row["decided"], ", ".join(row["rules"]), why]
        table.add_row(mark, *map(escape, cells))
    console().print(table)


def _warned(warnings: list[str]) -> str:
    from rich.markup import escape

    return "".join(f"\n[yellow]{escape(warning)}[/]" for warning in warnings)
