"""The workflow that is generated from a firewall: what happens to one call, in the language that everything else reads.

Its graph is that of a call that needs approval: guards and policies, a person, the tool, the guards on the result. It
is written to the home, so that approvals, the server and the console open it as they open any workflow, and a version
that a waiting call began with is kept as theirs are.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.errors import ConfigError, PolicyError, Problem, UnwritableError
from sluicegate.graphs.config.load import Workflow, inspect
from sluicegate.home import home, private_folder, write_private
from sluicegate.policies.cedar.approvers import named
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.sources import BASE, PolicyFile, policy_files
from sluicegate.policies.config import PolicyConfig
from sluicegate.serving.firewall.config import FirewallConfig, FirewallFile
from sluicegate.serving.firewall.pins import digest

__all__ = ["call_label", "load_workflow", "tool_name", "workflow_of"]

_PERMITS_EVERY_CALL = '@id("base.tool")'
"""Of the base policies the one that a firewall does not have."""
_NOBODY = "role:nobody-approves-here"
"""Who approves where the firewall names nobody; such calls are refused before they are put to anybody."""


def call_label(server: str, tool: str) -> str:
    """The intent of a call; policies see it as ``context.intent``."""
    return f"{server}.{tool}"


def tool_name(server: str, tool: str) -> str:
    """The tool's registered name, by which policies know it: ``Tool::"mcp.SERVER.TOOL"``."""
    return f"mcp.{server}.{tool}"


def workflow_of(file: FirewallFile, policies: list[str]) -> dict[str, Any]:
    """The workflow's file as data; `policies` are the names of its policy files."""
    config = file.config
    tools = [(server, name, tool) for server, one in config.servers.items() for name, tool in one.tools.items()]
    approval = config.approval.model_dump(exclude={"hold_s"}) if config.approval else {"approvers": _NOBODY}
    check = {"kind": "output-check", "guards": [*config.results.guards], "then": _where("!checks.failed", "respond")}
    return {
        "workflow": config.firewall,
        "version": f"{config.version}+{_contracts(file)[:12]}",
        "purpose": config.purpose,
        # the language wants a model; no node asks one
        "models": {"slm": {"use": "embedded:none"}},
        "inputs": {
            "call": {"type": "string", "describe": "the intent of the call", "optional": True},
            "arguments": {"type": "object", "describe": "its arguments", "optional": True},
        },
        "intents": {
            call_label(server, name): {"task": "tool", "risk": tool.risk, "tool": tool_name(server, name)}
            for server, name, tool in tools
        },
        "budget": {
            **_given(config.budget),
            "tool_usd": {tool_name(server, name): tool.usd for server, name, tool in tools if tool.usd},
        },
        "guards": _given(config.guards),
        "policy": {**_policy(config.policy), "base": False, "files": policies},
        "tracing": _given(config.tracing),
        "audit": _given(config.audit),
        "retention": _given(config.retention),
        "start": "admit",
        "nodes": {
            "admit": {
                "kind": "policy-check",
                "guards": [*config.arguments.guards],
                "then": _where("policy.verdict == 'allow'", "receive"),
            },
            "receive": {"kind": "receive-call", "then": "approve"},
            "approve": {
                "kind": "human-interrupt",
                **approval,
                "then": _where("approval.verdict in ['approve', 'edit']", "call"),
            },
            "call": {
                "kind": "call-tool",
                "say": "{{result}}",
                "then": _where("tool.status == 'done'", "check" if config.results.guards else "respond"),
            },
            **({"check": check} if config.results.guards else {}),
            "respond": {"kind": "respond"},
            "refuse": {"kind": "refuse", "say": "The call was not made, or its result is withheld."},
        },
        **({} if config.results.guards else {"waive": _UNCHECKED}),
    }


_UNCHECKED = [
    {"guarantee": "checked-answers", "reason": "the firewall's `results.guards` is empty: results pass unchecked"}
]


def _where(condition: str, node: str) -> list[dict[str, str]]:
    return [{"when": condition, "go": node}, {"otherwise": "refuse"}]


def _given(block: Any) -> dict[str, Any]:
    return block.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _policy(policy: PolicyConfig) -> dict[str, Any]:
    given = _given(policy)
    if policy.roles is not None and policy.base:
        # the base policies have roles of their own; in the home they are the workflow's
        given["roles"] = [*policy.roles, *named(CedarEngine(policy_files()), "role")]
    return given


def _contracts(file: FirewallFile) -> str:
    """A hash of all that is pinned: a changed contract makes another version."""
    return digest({"pins": file.offered})


def load_workflow(file: FirewallFile) -> Workflow:
    """Write the workflow to the home, and check and prove it. Raises `ConfigError` with every problem, those of
    policies at their places, `RunError` SG607."""
    folder = home() / "firewalls" / file.config.firewall
    origins = dict[str, str]()
    try:
        policies = [*_policies(file.config, file.folder)]
    except PolicyError as error:
        place = file.source.place(("policy", "files"))
        raise ConfigError([Problem("SG201", error.message, place, hint=error.hint)]) from error
    for number, policy in enumerate(policies):
        name = f"policies/{number:02}-{Path(policy.name).name}"
        shipped = policy.path is None or BASE in policy.path.parents
        origins[name] = policy.name if shipped else str(file.folder / policy.name)
        _put(folder / name, policy.text)
    for stale in (folder / "policies").glob("*.cedar"):
        if f"policies/{stale.name}" not in origins:
            stale.unlink(missing_ok=True)
    path = folder / "workflow.yaml"
    _put(path, json.dumps(workflow_of(file, [*origins]), indent=1))
    workflow, problems = inspect(path)
    if workflow is None:
        raise ConfigError([_placed(one, file, origins) for one in problems if one.severity == "error"])
    return workflow


def _policies(config: FirewallConfig, folder: Path) -> Iterator[PolicyFile]:
    """The base policies that a firewall has, and its own."""
    for policy in policy_files(None, PolicyConfig(base=config.policy.base)):
        kept = [one.text for one in policy.policies() if _PERMITS_EVERY_CALL not in one.text]
        yield replace(policy, text="\n\n".join(kept) + "\n")
    yield from policy_files(folder, config.policy.model_copy(update={"base": False}))


def _placed(problem: Problem, file: FirewallFile, origins: dict[str, str]) -> Problem:
    """A problem of the generated workflow at its place in the firewall's own files."""
    place = problem.place
    if place and (origin := origins.get(place.file)):
        return replace(problem, place=replace(place, file=origin))
    return replace(problem, place=file.source.place(()))


def _put(path: Path, text: str) -> None:
    """Write a file of the home unless it has this text; whoever reads it has the old one or the new one."""
    try:
        private_folder(path.parent)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        write_private(staged, text)
        staged.replace(path)
    except OSError as error:
        what = f"cannot write {path}: {error.strerror}"
        raise UnwritableError(what, hint="Free space or check permissions") from error
