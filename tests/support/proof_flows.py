"""The worked example of the documentation as a flow, and a small three-valued evaluator, for the tests of this folder.

The evaluator knows enough of CEL for flows made by hand: names, literals, lists, ``== != < > in``, ``! && ||`` and
parentheses.
"""

import ast
import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from sluicegate.graphs.conditions.fields import fields
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.registry import BUILT_IN


def node(
    name: str,
    kind: str | NodeKind,
    *branches: str | tuple[str, str],
    max_visits: int | None = None,
    guards: frozenset[str] = frozenset(),
) -> FlowNode:
    """A node; a branch is a target, or a condition and a target."""
    edges = tuple(Edge(branch) if isinstance(branch, str) else Edge(branch[1], branch[0]) for branch in branches)
    known = kind if isinstance(kind, NodeKind) else next((each for each in BUILT_IN if each.name == kind), None)
    if known is None:
        return FlowNode(name, str(kind), edges=edges, max_visits=max_visits)
    return FlowNode(
        name,
        known.name,
        known.roles(CallTool()),
        edges,
        max_visits,
        writes=known.writes,
        always_writes=known.always_writes,
        forgets=known.forgets,
        guards=guards,
    )


def flow(*nodes: FlowNode, intents: Mapping[str, Mapping[str, object]] | None = None) -> Flow:
    """The first node is the start."""
    return Flow(nodes[0].name, {each.name: each for each in nodes}, intents or {})


INTENTS: dict[str, dict[str, object]] = {
    "password_reset": {"task": "short-answer", "risk": "low", "max_tokens": 120},
    "access_request": {"task": "tool", "risk": "high", "max_tokens": 160},
    "payroll": {"task": "short-answer", "risk": "high", "max_tokens": 160},
    "outage_report": {"task": "synthesis", "risk": "low", "max_tokens": 700},
}


def helpdesk(recall: str = "cache.hit && intent.risk == 'low'") -> Flow:
    """The helpdesk of the documentation; `recall` is when a cached answer is served."""
    return flow(
        node("classify", "classify", "gate"),
        node(
            "gate", "policy-check", ("policy.verdict == 'deny'", "refuse"), ("intent.task == 'tool'", "act"), "recall"
        ),
        node("recall", "cache-lookup", (recall, "respond"), "facts"),
        node(
            "facts",
            "retrieve",
            ("intent.task == 'synthesis'", "synthesize"),
            ("intent.confidence < router.threshold", "synthesize"),
            "answer",
        ),
        node("answer", "slm-answer", ("answer.confidence < 0.5", "synthesize"), "check"),
        node("synthesize", "llm-synthesize", "check", max_visits=2),
        node(
            "check",
            "output-check",
            ("checks.failed", "synthesize"),
            ("checks.failed || intent.risk == 'high'", "approve"),
            "respond",
        ),
        node("approve", "human-interrupt", ("approval.verdict == 'approve'", "respond"), "refuse"),
        node("act", "call-tool", "approve"),
        node("respond", "respond"),
        node("refuse", "refuse"),
        intents=INTENTS,
    )


class _Known:
    def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
        """Three-valued evaluation (Kleene's strong logic): None is unknown."""
        value = _value(_parsed(condition), facts)
        return value if value is None else bool(value)

    def reads(self, condition: str, /) -> frozenset[str]:
        return _reads(condition)


known = _Known()

LISTED: Mapping[str, tuple[object, ...]] = {
    name: (True, False) if field.type == "bool" else field.choices
    for name, field in fields().items()
    if field.type == "bool" or field.choices
}
"""Every value of the fields that have few of them."""


_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.In: lambda left, right: left in right,
}


@functools.cache
def _parsed(condition: str) -> ast.expr:
    python = re.sub(r"!(?!=)", " not ", condition.replace("&&", " and ").replace("||", " or ")).strip()
    return ast.parse(python, mode="eval").body


@functools.cache
def _reads(condition: str) -> frozenset[str]:
    return frozenset(_name(each) for each in ast.walk(_parsed(condition)) if isinstance(each, ast.Attribute))


@functools.cache
def _name(node: ast.expr) -> str:
    """Of a field: `_parsed` keeps its nodes."""
    return ast.unparse(node)


def _value(node: ast.expr, facts: Mapping[str, object]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [_value(each, facts) for each in node.elts]
    if isinstance(node, ast.Attribute | ast.Name):
        name = _name(node)
        return {"true": True, "false": False}.get(name, facts.get(name))
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, facts)
        return None if value is None else not value
    if isinstance(node, ast.BoolOp):
        values = [_value(each, facts) for each in node.values]
        deciding = isinstance(node.op, ast.Or)
        if deciding in values:
            return deciding
        return None if None in values else not deciding
    assert isinstance(node, ast.Compare)
    left, right = _value(node.left, facts), _value(node.comparators[0], facts)
    if left is None or right is None:
        return None
    return _COMPARE[type(node.ops[0])](left, right)
