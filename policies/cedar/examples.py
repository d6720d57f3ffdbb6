"""Example decisions of the policies: what should be allowed, what not, and by which rule.

``examples.yaml`` is a list; common keys have defaults, so that an example stays short::

    - name: nobody asks for access at night
      principal: {id: alice, roles: [staff]}
      context: {intent: access_request, risk: high, hour: 3}
      expect: deny
      rule: helpdesk.night
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.files import yaml_loader
from sluicegate.services import Decision, PolicyEngine
from sluicegate.state import Principal

__all__ = ["Example", "ExampleOutcome", "completed_context", "read_examples", "run_examples"]

_ASK: dict[str, Any] = {"intent": "", "risk": "low", "channel": "cli", "hour": 12, "data_classes": []}
_CONTEXTS: dict[str, dict[str, Any]] = {
    "ask": _ASK,
    "call_tool": {"intent": "", "risk": "low"},
    "call_unattended": {"intent": "", "risk": "low"},
    "approve": {"intent": "", "risk": "low"},
    "operate": {"task": "promote"},
    "see_redacted": {"intent": "", "risk": "low", "kind": "email", "stage": "request"},
}

_LOADER = yaml_loader()
_FIRST = (
    "Add examples there, one per line, such as"
    " - {name: staff may ask, principal: {id: ann, roles: [employee]}, expect: allow, rule: base.ask}"
)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ExamplePrincipal(_Row):
    id: str
    roles: list[str] = Field(default_factory=list[str])
    groups: list[str] = Field(default_factory=list[str])
    clearance: Literal["public", "internal", "confidential", "restricted"] = "internal"


class Example(_Row):
    """One example decision."""

    name: str = ""
    """Its description, in a few words."""
    principal: ExamplePrincipal
    """The requester."""
    action: str = "ask"
    """The Cedar action."""
    resource: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Type, id and attributes; without it the workflow itself."""
    context: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Differences from a low-risk request from the command line at noon."""
    expect: Literal["allow", "deny"]
    rule: str = ""
    """The `@id` of a policy that must be among the deciding ones; ``default`` for the default deny."""


@dataclass(frozen=True, slots=True)
class ExampleOutcome:
    example: Example
    decision: Decision
    passed: bool


def completed_context(action: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """`context` completed with defaults for what the action requires."""
    return {**_CONTEXTS.get(action, {}), **context}


def read_examples(path: Path) -> list[Example]:
    """The examples of a file. Raises `ConfigError` SG101 or SG102, or SG140 with every bad row and its place."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError([Problem("SG101", f"no examples: {path} not found", hint=_FIRST)]) from error
    except OSError as error:
        raise ConfigError([Problem("SG101", f"cannot read {path}: {error.strerror}")]) from error
    try:
        node = yaml.compose(text, _LOADER)
        rows: Any = yaml.load(text, _LOADER)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError([Problem("SG102", f"{path} is not YAML: {error}")]) from error
    if node is None or not isinstance(rows, list) or not isinstance(node, yaml.SequenceNode):
        raise ConfigError([Problem("SG140", "examples must be a list", Place(str(path), 1, 1))])
    examples: list[Example] = []
    problems: list[Problem] = []
    for row, row_node in zip(cast("list[Any]", rows), cast("list[yaml.Node]", node.value), strict=True):
        try:
            examples.append(Example.model_validate(row))
        except ValidationError as error:
            place = Place(str(path), row_node.start_mark.line + 1, row_node.start_mark.column + 1)
            for fault in error.errors():
                where = ".".join(str(part) for part in fault["loc"])
                problems.append(Problem("SG140", f"{where}: {fault['msg']}" if where else fault["msg"], place))
    if problems:
        raise ConfigError(problems)
    return examples


def run_examples(engine: PolicyEngine, examples: list[Example], *, workflow: str) -> list[ExampleOutcome]:
    """Decide every example."""
    outcomes: list[ExampleOutcome] = []
    for example in examples:
        principal: Principal = {
            "id": example.principal.id,
            "roles": example.principal.roles,
            "groups": example.principal.groups,
            "clearance": example.principal.clearance,
        }
        resource = example.resource or {"type": "Workflow", "id": workflow}
        context = completed_context(example.action, example.context)
        decision = engine.decide(principal, example.action, resource, context)
        rules = decision.rules or (() if decision.errors else ("default",))
        expected = decision.allowed == (example.expect == "allow")
        outcomes.append(ExampleOutcome(example, decision, expected and (not example.rule or example.rule in rules)))
    return outcomes
