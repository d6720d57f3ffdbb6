"""A checked config as the proofs take it: its flow, its guarantees and waivers, its conditions over known facts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel

from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.conditions.regions import regions
from sluicegate.graphs.config.models import GuaranteeConfig, WorkflowConfig
from sluicegate.graphs.config.source import Pointer, Source
from sluicegate.graphs.proofs import BUILT_IN, Guarantee, Waiver
from sluicegate.graphs.proofs.flow import Contract, Edge, Flow, FlowNode
from sluicegate.graphs.proofs.semantics import Semantics
from sluicegate.graphs.proofs.shape import reached, successors
from sluicegate.nodes.attempts import AttemptLimits
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.control.ask import Ask
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.kinds.control.workflow import SubWorkflow
from sluicegate.nodes.kinds.output_check import OUTPUT_CHECK
from sluicegate.nodes.prompts import placeholders
from sluicegate.policies.guards.registry import guards

__all__ = ["KnownConditions", "contract_of", "flow_of", "guarantees_of", "waivers_of", "written_by"]


def flow_of(
    config: WorkflowConfig,
    kinds: Mapping[str, NodeKind],
    settings: Mapping[str, BaseModel],
    within: Mapping[str, str],
    source: Source,
    children: Mapping[str, Contract],
    reads: Mapping[str, frozenset[str] | None],
) -> Flow:
    """The flow; `within` are the nodes that are visited for an item, each with its for-each."""
    nodes: dict[str, FlowNode] = {}
    unseen = _unseen_items(settings, within)
    for name, node in config.nodes.items():
        at: Pointer = ("nodes", name)
        edges = tuple(
            Edge(branch.to, branch.when, source.place((*at, "then", position) if isinstance(node.then, tuple) else at))
            for position, branch in enumerate(node.branches)
        )
        kind = kinds[name]
        # an item whose node has no error branch ends there, and the others go on
        on_error, says = node.on_error or within.get(name), "on_error"
        if isinstance(own := settings[name], Ask):
            on_error, says = own.on_timeout, "on_timeout"
        writes = kind.writes_of(settings[name]) | frozenset(["failure"] if on_error else ())
        always, child = kind.always_writes, children.get(name)
        if child:
            brought, always = written_by(child)
            writes = brought | (writes & {"failure"})
        made = FlowNode(
            name,
            node.kind,
            frozenset() if child else kind.roles(settings[name]) | (_CHANGES if name in unseen else _NO_MORE),
            edges,
            node.max_visits,
            place=source.place(at, of_key=True),
            writes=writes,
            reads=reads[name],
            always_writes=always,
            forgets=kind.forgets,
            guards=(checked := _checked_for(kind, settings[name])),
            whole_text=_whole_text(checked, config),
            on_error=Edge(on_error, None, source.place((*at, says))) if on_error else None,
            limits=AttemptLimits(None if "timeout" in kind.settings.model_fields else node.timeout, node.retry),
            do=own.do if isinstance(own, ForEach) else "",
            collects=own.collect if isinstance(own, ForEach) else "",
            within=within.get(name, ""),
            child=child,
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


_CHANGES, _NO_MORE = frozenset({"changes-approved"}), frozenset[str]()


def _unseen_items(settings: Mapping[str, BaseModel], within: Mapping[str, str]) -> frozenset[str]:
    """The for-each nodes of whose items something is put into the arguments of a call: who approved before them has
    not seen it."""
    found = set[str]()
    for name, own in settings.items():
        given = (own.arguments or {}) if isinstance(own, CallTool) else {}
        texts = [text for text in given.values() if isinstance(text, str)]
        roots = {placeholder.partition(".")[0] for text in texts for placeholder, _ in placeholders(text)}
        if "item" in roots:
            found.add(within.get(name, ""))
        if roots & {"items", "failed_items"}:
            found |= {each for each, its in settings.items() if isinstance(its, ForEach)}
    return frozenset(found)


def contract_of(settings: SubWorkflow, name: str, flow: Flow, known: "KnownConditions") -> Contract:
    """A child of that name as its parent's proofs take it."""
    domains = regions(known.conditions.values())
    return Contract(name, flow, known, domains, frozenset(settings.take))


def written_by(child: Contract) -> tuple[frozenset[str], frozenset[str]]:
    """The state keys that the node of a child may change, and those that it writes whenever it does not fail."""
    semantics = Semantics(child.flow, child.known, child.domains)
    live = reached([child.flow.start], successors(child.flow))
    possible = child.takes & {key for name in live for key in child.flow.nodes[name].writes}
    sources = {"documents", "earlier_documents"} if child.takes else set[str]()
    certain = {key for key in possible if semantics.left_certainly(key)}
    return frozenset({"child", *possible, *sources}), frozenset({"child", *certain})


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


_NEVER_KNOWN = frozenset({"?"})


class KnownConditions:
    """The compiled conditions, the config's and those of the built-in guarantees, as the proofs ask for them.

    Of any other, such as a parent's, nothing is known: what stands for the values of a field was chosen for these.
    """

    def __init__(self, conditions: Mapping[str, Condition], compiler: Conditions, asked: Sequence[str] = ()) -> None:
        """`asked` are conditions besides those of the config."""
        built_in = [text for one in BUILT_IN for text in (one.when, one.where, one.since) if text is not None]
        self.conditions = {**{text: compiler.compile(text) for text in (*built_in, *asked)}, **conditions}

    def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
        compiled = self.conditions.get(condition)
        return compiled.known(facts) if compiled else None

    def reads(self, condition: str, /) -> frozenset[str]:
        compiled = self.conditions.get(condition)
        return compiled.fields if compiled else _NEVER_KNOWN
