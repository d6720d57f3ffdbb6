"""A firewall's file as strict models, read and checked with the place of every problem."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.graphs.config.models import Name, RetentionConfig, Version, Words
from sluicegate.graphs.config.source import Source, read
from sluicegate.graphs.config.validate import Faults, validated
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.nodes.tools.mcp import servers
from sluicegate.observe.audit.log import AuditSettings
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.policies.config import BudgetConfig, PolicyConfig, Usd
from sluicegate.policies.guards.config import GuardConfig
from sluicegate.policies.guards.registry import guards
from sluicegate.serving.firewall.pins import Contract, read_pins
from sluicegate.state import Risk

__all__ = ["ApprovalConfig", "FirewallConfig", "FirewallFile", "firewall_schema", "read_firewall"]

ServerName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=30)]
"""Small letters, digits and single ``-``; the tools of a server are offered as ``SERVER__TOOL``."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ToolConfig(_Block):
    """One tool that is offered."""

    risk: Risk = "high"
    """How much harm a wrong call does: policies see it, and a call of a high risk is not made unless its record is on
    the disk."""
    approval: bool = False
    """Whether every call needs a person's approval; of the others, those that a policy forbids as `call_unattended`."""
    usd: Usd = 0.0
    """What one call costs, in US dollars, booked before it is made."""


class ServerConfig(_Block):
    """One server in front of which the firewall stands; its command or address is in the operator's `mcp.json`."""

    tools: dict[Name, ToolConfig] = Field(min_length=1)
    """The tools that are offered, by the names that the server gives them. Every other tool of it is not there."""


class GuardedConfig(_Block):
    """What is done with the arguments of calls, or with their results."""

    guards: tuple[str, ...] = ()
    """The guards on every text of it, by name. One that fails stops the call, or withholds its result; one that redacts
    puts a placeholder there."""
    max_bytes: int = Field(default=200_000, ge=1, le=10_000_000)
    """How long it may be, as JSON."""


class ApprovalConfig(HumanInterrupt):
    """Who approves the calls that need it."""

    hold_s: float = Field(default=0.0, ge=0, le=600)
    """How many seconds a caller is kept waiting for the decision before it is told that the call waits."""


class FirewallBudget(BudgetConfig):
    """What calls may cost and how many there may be; the prices are those of the tools."""

    @model_validator(mode="after")
    def _prices_are_of_the_tools(self) -> Self:
        if self.tool_usd:
            raise ValueError("a tool's price is its `usd`")
        return self


class FirewallConfig(_Block):
    """A firewall before the tools of other MCP servers."""

    firewall: Name
    """The firewall's name: budgets, approvals and the audit log know it as a workflow of this name."""
    version: Annotated[Version, Field(min_length=1, max_length=30, json_schema_extra={"type": ["string", "integer"]})]
    """The version, a whole number or a text such as "2.1"; a hash of the pins is added to it."""
    purpose: Words
    """Its purpose, in a sentence or two."""
    servers: dict[ServerName, ServerConfig] = Field(min_length=1)
    """The servers, as they are named in the operator's `mcp.json`."""
    pins: str = "pins.json"
    """The file of reviewed contracts that `sluicegate mcp proxy FILE --pin` writes, relative to this one. A tool whose
    name, descriptions, schemas or annotations differ from it is not offered."""
    policy: PolicyConfig = PolicyConfig()
    """Where the Cedar policies are. Without one that permits it nothing may be called: of the base policies, those on
    calls of tools are left out."""
    arguments: GuardedConfig = GuardedConfig(guards=("secrets",))
    """What is done with the arguments of calls."""
    results: GuardedConfig = GuardedConfig(guards=("secrets", "injection"), max_bytes=1_000_000)
    """What is done with their results."""
    guards: GuardConfig = GuardConfig()
    """Settings of guards; a guard that is not listed uses its defaults."""
    budget: FirewallBudget = FirewallBudget()
    """What calls may cost, and how many there may be."""
    approval: ApprovalConfig | None = None
    """Who approves the calls that need it; without it they are refused."""
    tracing: TraceSettings = TraceSettings()
    """How much of the texts of calls that wait the traces keep."""
    audit: AuditSettings = AuditSettings()
    """How the audit log is kept."""
    retention: RetentionConfig = RetentionConfig()
    """How long other records are kept."""


@dataclass(frozen=True, slots=True)
class FirewallFile:
    """A checked file, with what it names."""

    config: FirewallConfig
    source: Source
    pins: Mapping[str, Mapping[str, Contract]]
    """The pinned contracts by server and tool, of all that were reviewed."""

    @property
    def offered(self) -> dict[str, dict[str, Contract]]:
        """Those of the tools that are offered."""
        return {
            server: {tool: self.pins[server][tool] for tool in one.tools} for server, one in self.config.servers.items()
        }

    @property
    def folder(self) -> Path:
        return self.source.path.parent

    @property
    def pins_file(self) -> Path:
        return self.folder / self.config.pins


def read_firewall(path: Path, *, pinned: bool = True) -> FirewallFile:
    """The firewall in a file. Raises `ConfigError` with every problem; `pinned` False asks for no pins."""
    source = read(path)
    if not isinstance(source.data, dict):
        problems = source.problems or (Problem("SG107", "a firewall is a map of keys and values", source.place(())),)
        raise ConfigError(list(problems))
    faults = Faults(source)
    faults.problems += source.problems
    config = validated(FirewallConfig, json.loads(json.dumps(source.data)), (), faults)
    pins: dict[str, dict[str, Contract]] = {}
    if config:
        _check_servers(config, faults)
        _check_guards(config, faults)
        if any(tool.approval for one in config.servers.values() for tool in one.tools.values()) and not config.approval:
            faults.add("SG106", "missing key 'approval': nobody could approve the calls that need it", ("approval",))
        if pinned:
            pins = _pins(config, source, faults)
    errors = [problem for problem in faults.problems if problem.severity == "error"]
    if errors or config is None:
        raise ConfigError(sorted(errors, key=_order))
    return FirewallFile(config, source, pins)


def _order(problem: Problem) -> tuple[str, int, int]:
    place = problem.place or Place("", 0, 0)
    return place.file, place.line, place.column


def _check_servers(config: FirewallConfig, faults: Faults) -> None:
    listed = servers()
    for name in config.servers:
        if name not in listed:
            hint = "Only the operator lists servers, in mcp.json: add it there if you trust what it runs"
            what = f"the MCP server {name!r} is not listed"
            faults.add("SG117", what, ("servers", name), choices=listed, word=name, hint=hint, of_key=True)


def _check_guards(config: FirewallConfig, faults: Faults) -> None:
    known = {name: kind for name, kind in guards().items() if name != "slm-review"}
    for block in ("arguments", "results"):
        named: Sequence[str] = getattr(config, block).guards
        for position, name in enumerate(named):
            if name not in known:
                what = f"unknown guard {name!r}" if name not in guards() else "a firewall has no model to ask"
                faults.add("SG116", what, (block, "guards", position), choices=known, word=name)


def _pins(config: FirewallConfig, source: Source, faults: Faults) -> dict[str, dict[str, Contract]]:
    try:
        pinned = read_pins(source.path.parent / config.pins)
    except ConfigError as error:
        faults.problems += error.problems
        return {}
    hint = f"Review what it offers and pin it: sluicegate mcp proxy {source.path} --pin"
    for server, one in config.servers.items():
        known = pinned.get(server, {})
        for tool in one.tools.keys() - known.keys():
            at = ("servers", server, "tools", tool)
            what = f"{server} has no pinned tool {tool!r}"
            faults.add("SG117", what, at, choices=known, word=tool, hint=hint, of_key=True)
    return pinned


def firewall_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of a firewall's file."""
    from sluicegate.graphs.config.schema import tidy

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluicegate firewall",
        **tidy(FirewallConfig.model_json_schema(by_alias=True)),
    }
