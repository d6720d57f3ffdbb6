"""Whether a draft may be sent sentence by sentence while it is being written.

Only where nothing can hold back the rest of it or take back its beginning: on every way from the writer to an end stand
checks whose guards judge by sentence, policies and ends, but no person, no other draft, and no guard that needs the
whole text. What is sent has passed the guards of every check on those ways. Values that nothing from the writer on
changes, such as the intent's risk, rule out the branches that they decide.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode

__all__ = ["Streaming", "streaming", "streaming_by_intent"]

Truth = Callable[[str], bool | None]
"""A condition's value as far as it is known."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """What becomes of the sentences of one node's draft before it is whole."""

    guards: tuple[str, ...] = ()
    """Those that each beginning of it has to pass before it is sent."""
    why_not: str = ""
    """What may still hold it back; empty where it may be sent."""


def streaming(flow: Flow, writer: str, truth: Truth) -> Streaming:
    """Whether what `writer` drafts may be sent before it is whole, in the runs in which conditions have these values.

    `truth` must know nothing of a field that the writer, or a node after it, writes.
    """
    if flow.nodes[writer].limits.retry:
        return Streaming(why_not=f"{writer} may be tried again, and write something else")
    if within := flow.nodes[writer].within:
        return Streaming(why_not=f"{writer} writes for an item of {within}")
    guards: list[str] = []
    for name in _reached(flow, writer, truth):
        node = flow.nodes[name]
        if why := _holds_back(node):
            return Streaming(why_not=why)
        guards += node.guards if "checks" in node.effects else ()
    return Streaming(tuple(dict.fromkeys(guards)))


def streaming_by_intent(
    flow: Flow, writer: str, known: Callable[[str, Mapping[str, object]], bool | None]
) -> dict[str, Streaming]:
    """The same for each intent whose requests `writer` may answer, and under ``""`` where no intent is declared."""
    found: dict[str, Streaming] = {}
    worlds: dict[str, dict[str, object]] = {label: flow.known_of(label) for label in flow.intents} or {"": {}}
    for label, facts in worlds.items():

        def truth(condition: str, facts: Mapping[str, object] = facts) -> bool | None:
            return known(condition, facts)

        if writer == flow.start or writer in _reached(flow, flow.start, truth):
            found[label] = streaming(flow, writer, truth)
    return found


def _holds_back(node: FlowNode) -> str:
    if node.child:
        return f"{node.name} runs another workflow before it is sent"
    if "asks-human" in node.effects:
        return f"a person may hold it back at {node.name}"
    if "asks-requester" in node.effects:
        return f"the requester is asked something else at {node.name} before it is sent"
    if "waits" in node.effects:
        return f"{node.name} waits before it is sent"
    if "checks" in node.effects:
        whole = " and ".join(sorted(node.whole_text))
        return f"{whole} at {node.name} needs the whole text" if whole else ""
    if "ends" in node.effects:
        return f"{node.name} writes what is sent" if "generates-answer" in node.effects else ""
    if node.effects <= {"decides-policy", "tags"} and not (node.do or node.child):
        return ""
    return f"{node.name} ({node.kind}) may come before it is sent"


def _reached(flow: Flow, start: str, truth: Truth) -> Iterator[str]:
    """The nodes that a run may come to after `start`, itself only on a cycle. Visits are taken as unlimited."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for edge in _possible(flow, waiting.pop(), truth):
            if edge.to not in seen:
                seen.add(edge.to)
                waiting.append(edge.to)
                yield edge.to


def _possible(flow: Flow, name: str, truth: Truth) -> Iterator[Edge]:
    node = flow.nodes[name]
    if node.on_error:
        yield node.on_error
    for edge in node.edges:
        value = edge.condition is None or truth(edge.condition)
        if value is not False:
            yield edge
        if value and not node.join and flow.nodes[edge.to].max_visits is None:
            return
