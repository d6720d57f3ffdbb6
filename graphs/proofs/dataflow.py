"""What conditions read: whether any node before them may have written it, and whether it is their node's own verdict.

A kind declares what it *may* write. A condition that reads what no earlier node may have written is a mistake; so is
one that tests a tag that no earlier node scores, and a `tag` node for drafts before any is written.
"""

from collections.abc import Iterable, Iterator, Mapping

from sluicegate.errors import Problem
from sluicegate.graphs.conditions.conditions import Condition
from sluicegate.graphs.conditions.fields import fields
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.proofs.shape import reached, successors
from sluicegate.nodes.kinds.tag import Tag

__all__ = ["earlier_verdicts", "never_written"]


def _may_be_written(flow: Flow, tagging: Mapping[str, Tag], initially: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """The keys that a run may have written, and the tags it may have scored (as ``tags TAG``), on some path, when it
    leaves each reachable node."""
    found: dict[str, frozenset[str]] = {}
    came: dict[str, frozenset[str]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(flow.start, initially)]
    while waiting:
        name, before = waiting.pop()
        node = flow.nodes[name]
        if name not in came or not before <= came[name]:
            came[name] = before | came.get(name, frozenset())
            written = node.writes | {_key(tag) for tag in (tagging[name].tags if name in tagging else ())}
            found[name] = written | {key for key in came[name] if key.partition(" ")[0] not in node.forgets}
            waiting += [(edge.to, found[name]) for edge in node.edges if not node.returns(edge)]
            if node.on_error and not node.returns(node.on_error):
                waiting.append((node.on_error.to, came[name] | written))
        if node.do:
            waiting.append((node.do, before | {"item"}))
    return found


def _reads(flow: Flow, conditions: Mapping[str, Condition], names: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Every field that a branch reads and that has no value from the start: node, branch, field."""
    known = fields()
    for name in names:
        for position, edge in enumerate(flow.nodes[name].edges):
            if edge.condition is not None:
                for field in sorted(conditions[edge.condition].fields):
                    if not known[field].initial:
                        yield name, position, field


def _key(tag: str) -> str:
    return f"tags {tag}"


def never_written(
    flow: Flow,
    conditions: Mapping[str, Condition],
    tagging: Mapping[str, Tag],
    lists: Mapping[str, Condition],
    gives: Mapping[str, Mapping[str, Condition]],
    initially: frozenset[str],
) -> list[Problem]:
    """SG124: fields that are read although no earlier node writes them. `tagging` has the `tag` nodes' settings,
    `lists` what each for-each goes over, `gives` what each child is given; `initially` are keys that a run may begin
    with."""
    possible = _may_be_written(flow, tagging, initially)
    problems = [
        Problem(
            "SG124", f"no draft to tag at {name!r}: no earlier node writes one", flow.nodes[name].place,
            tuple(node.name for node in flow.nodes.values() if "answer" in node.writes and node.edges),
            hint="Put a node that writes one before this one, or set `of: request`",
        )
        for name, settings in tagging.items()
        if settings.of == "draft" and "answer" not in possible.get(name, ("answer",))
    ]  # fmt: skip
    read = [
        (name, flow.nodes[name].edges[position].place, field)
        for name, position, field in _reads(flow, conditions, possible)
    ]
    for name in lists.keys() & possible.keys():
        read += [(name, flow.nodes[name].place, field) for field in lists[name].fields if not fields()[field].initial]
    for name, place, field in read:
        key = fields()[field].key
        if key in possible[name]:
            continue
        writers = tuple(node.name for node in flow.nodes.values() if key in node.writes)
        hint = "Put the node that writes it before this one" if writers else "Add a node that writes it"
        if key == "item":
            hint = "Read it in what a for-each does for each item"
        problems.append(
            Problem("SG124", f"{field} has no value at {name!r}: no earlier node writes it", place, writers, hint=hint)
        )
    problems += _never_given(flow, gives, possible)
    return [*problems, *_never_looked_for(flow, conditions, tagging, possible)]


def _never_given(
    flow: Flow, gives: Mapping[str, Mapping[str, Condition]], possible: Mapping[str, frozenset[str]]
) -> Iterator[Problem]:
    """SG124: what a child is given in terms of fields that no earlier node writes."""
    for name in gives.keys() & possible.keys():
        came = [written for other, written in possible.items() if any(way.to == name for way in flow.nodes[other].ways)]
        for given, value in gives[name].items():
            for field in sorted(value.fields):
                known = fields()[field]
                if not known.initial and not any(known.key in written for written in came):
                    what = f"{field} has no value at {name!r}, which gives it as {given!r}: no earlier node writes it"
                    hint = "Put a node that writes it before this one"
                    yield Problem("SG124", what, flow.nodes[name].place, hint=hint)


def _never_looked_for(
    flow: Flow,
    conditions: Mapping[str, Condition],
    tagging: Mapping[str, Tag],
    possible: Mapping[str, frozenset[str]],
) -> Iterator[Problem]:
    """SG124: tags that a condition tests although no earlier node scores them."""
    for name, written in possible.items():
        for edge in flow.nodes[name].edges if "tags" in written else ():
            about = conditions[edge.condition].tags if edge.condition is not None else frozenset[str]()
            for tag in sorted(tag for tag in about if _key(tag) not in written):
                lookers = tuple(node for node, settings in tagging.items() if tag in settings.tags)
                what = f"tag {tag!r} has no value at {name!r}: no earlier node checks for it"
                hint = "Put the node that checks for it before this one, or test a tag by its name"
                if lookers:  # an undeclared tag is reported where it is written
                    yield Problem("SG124", what, edge.place, lookers, hint=hint)


_VERDICTS = frozenset({"policy", "checks", "approval"})
"""The state keys that hold a verdict on what a run had at the node that wrote it."""


def earlier_verdicts(flow: Flow, conditions: Mapping[str, Condition]) -> list[Problem]:
    """As warnings SG126: verdicts that are read at another node than the one that gave them."""
    targets, known = successors(flow), fields()
    problems: list[Problem] = []
    for name, position, field in _reads(flow, conditions, flow.nodes):
        key = known[field].key
        if key not in _VERDICTS or key in flow.nodes[name].writes:
            continue
        judges = [
            repr(node.name)
            for node in flow.nodes.values()
            if key in node.writes
            and node.within in ("", flow.nodes[name].within)
            and name in reached(targets[node.name], targets)
        ]
        if judges:
            what = (
                f"{field} at {name!r} is the verdict that {' or '.join(judges)} left: {name!r} reaches none of its own"
            )
            hint, place = "Branch on it where it is reached", flow.nodes[name].edges[position].place
            problems.append(Problem("SG126", what, place, hint=hint, severity="warning"))
    return problems
