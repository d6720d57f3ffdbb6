"""What a child is to its parent's proofs: its own graph, less what stays with it.

A child's end does not end its parent's run, and what it sends it gives to its parent. Its verdicts and its people are
about its own draft: for its parent they count as far as the parent takes what they are about.
"""

from collections.abc import Iterator
from dataclasses import replace

from sluicegate.graphs.proofs.flow import Contract, Flow, FlowNode
from sluicegate.nodes.kinds.terminal import REFUSE, RESPOND

__all__ = ["CHILD_ENDED", "ended_as", "every_node", "left_by", "within"]

CHILD_ENDED = ("child.status == 'answered'", "child.status == 'refused'")
"""The conditions under which a run goes on after a child, by how the child has ended."""


def ended_as(node: FlowNode) -> tuple[str, ...]:
    """Those of `CHILD_ENDED` that may hold after a child came to this end of its own."""
    return {RESPOND.name: CHILD_ENDED[:1], REFUSE.name: CHILD_ENDED[1:]}.get(node.kind, CHILD_ENDED)


def within(contract: Contract) -> Flow:
    """The child's graph as part of its parent's: its ends are none there."""
    nodes = contract.flow.nodes
    return replace(contract.flow, nodes={name: _no_end(node) for name, node in nodes.items()})


def left_by(contract: Contract) -> Flow:
    """The child's graph with what its parent's run is concerned with afterwards."""
    nodes = contract.flow.nodes
    return replace(contract.flow, nodes={name: _less(_no_end(node), contract.takes) for name, node in nodes.items()})


def every_node(flow: Flow) -> Iterator[FlowNode]:
    """The nodes of a flow and of its children, as they are in it."""
    for node in flow.nodes.values():
        yield node
        if node.child:
            yield from every_node(within(node.child))


def _no_end(node: FlowNode) -> FlowNode:
    if node.edges:
        return node
    return replace(node, kind=f"{node.kind} of a child", effects=node.effects - {"ends", "sends"})


def _less(node: FlowNode, takes: frozenset[str]) -> FlowNode:
    # the words that a child asks for are its own
    brings, lost = node.writes & takes, {"asks-requester"}
    if "answer" not in brings:
        lost.add("generates-answer")
    if not brings & {"answer", "extraction"}:
        lost.add("changes-approved")
    if "answer" not in takes:
        lost.add("checks")
    if not takes & {"answer", "extraction", "approval", "tool_calls"}:
        lost.add("asks-human")
    # a guarantee may name a check, or a person, by its kind
    kind = f"{node.kind} of a child" if node.effects & lost & {"checks", "asks-human"} else node.kind
    return replace(node, kind=kind, effects=node.effects - lost)
