"""A checked config as the proofs take it: its flow, its guarantees and waivers, its conditions over known facts."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel

from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.config.models import GuaranteeConfig, WorkflowConfig
from sluicegate.graphs.config.source import Pointer, Source
from sluicegate.graphs.proofs import BUILT_IN, Guarantee, Waiver
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.nodes.attempts import AttemptLimits
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.kinds.output_check import OUTPUT_CHECK
from sluicegate.policies.guards.registry import guards

__all__ = ["KnownConditions", "flow_of", "guarantees_of", "waivers_of"]


def flow_of(
    config: WorkflowConfig,
    kinds: Mapping[str, NodeKind],
    settings: Mapping[str, BaseModel],
    within: Mapping[str, str],
    source: Source,
) -> Flow:
    """The flow; `within` are the nodes that are visited for an item, each with its for-each."""
    nodes: dict[str, FlowNode] = {}
    for name, node in config.nodes.items():
        at: Pointer = ("nodes", name)
        edges = tuple(
            Edge(branch.to, branch.when, source.place((*at, "then", position) if isinstance(node.then, tuple) else at))
            for position, branch in enumerate(node.branches)
        )
        kind = kinds[name]
        # an item whose node has no error branch ends there, and the others go on
        on_error = node.on_error or within.get(name)
        writes = kind.writes_of(settings[name]) | frozenset(["failure"] if on_error else ())
        made = FlowNode(
            name,
            node.kind,
            kind.roles(settings[name]),
            edges,
            node.max_visits,
            place=source.place(at, of_key=True),
            writes=writes,
            reads=kind.reads_of(settings[name]),
            always_writes=kind.always_writes,
            guards=(checked := _checked_for(kind, settings[name])),
            whole_text=_whole_text(checked, config),
            on_error=Edge(on_error, None, source.place((*at, "on_error"))) if on_error else None,
            limits=AttemptLimits(None if "timeout" in kind.settings.model_fields else node.timeout, node.retry),
            do=own.do if isinstance(own := settings[name], ForEach) else "",
            within=within.get(name, ""),
        )
        if kind.fork:
            fork = kind.fork(settings[name])
            edges = tuple(
                Edge(first, None, source.place((*at, "branches", number))) for number, first in enumerate(fork.branches)
            )
            # of branches that fail, what they spent and called is known
            writes = writes | frozenset(["spend", "tool_calls"] if node.on_error else ())
            made = replace(made, edges=edges, join=fork.join, siblings=fork.siblings, writes=writes)
        nodes[name] = made
    intents = {
        label: {"risk": one.risk, "task": one.task, "max_tokens": one.max_tokens, "tool": one.tool or ""}
        for label, one in config.intents.items()
    }
    waived = tuple(f"{one.guarantee}: {one.reason}" for one in config.waive)
    return Flow(config.start, nodes, intents, waived)


def _checked_for(kind: NodeKind, settings: BaseModel) -> frozenset[str]:
    """What a check checks for: its guards. What an installed kind checks for, only one like it does."""
    guards = frozenset[str](getattr(settings, "guards", None) or ())
    if "checks" not in kind.effects or kind is OUTPUT_CHECK:
        return guards
    return guards | {f"{kind.name} {settings.model_dump_json()}"}


def _whole_text(names: frozenset[str], config: WorkflowConfig) -> frozenset[str]:
    kinds = guards()
    return frozenset(
        name
        for name in names
        if name not in kinds or not kinds[name].judges_by_sentence(config.guards.settings(name, kinds[name].settings))
    )


def guarantees_of(config: WorkflowConfig, source: Source) -> tuple[Guarantee, ...]:
    return tuple(_guarantee(one, source, position) for position, one in enumerate(config.guarantees))


def waivers_of(config: WorkflowConfig, source: Source) -> tuple[Waiver, ...]:
    return tuple(
        Waiver(one.guarantee, one.reason, source.place(("waive", position)))
        for position, one in enumerate(config.waive)
    )


def _guarantee(guarantee: GuaranteeConfig, source: Source, position: int) -> Guarantee:
    return Guarantee(
        no=guarantee.no,
        without=guarantee.without,
        after=guarantee.after,
        when=guarantee.when,
        where=guarantee.where,
        every=guarantee.every,
        reaches=guarantee.reaches,
        place=source.place(("guarantees", position)),
    )


class KnownConditions:
    """The compiled conditions, the config's and those of the built-in guarantees, as the proofs ask for them."""

    def __init__(self, conditions: Mapping[str, Condition], compiler: Conditions) -> None:
        built_in = [text for one in BUILT_IN for text in (one.when, one.where, one.since) if text is not None]
        self.conditions = {**{text: compiler.compile(text) for text in built_in}, **conditions}

    def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
        return self.conditions[condition].known(facts)

    def reads(self, condition: str, /) -> frozenset[str]:
        return self.conditions[condition].fields
