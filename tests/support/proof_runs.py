"""Runs of random flows, branch by branch with concrete values, for the tests that compare proofs with them."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from sluicegate.graphs.proofs import Guarantee
from sluicegate.graphs.proofs.flow import Flow
from tests.support.proof_flows import known

INTENTS: dict[str, dict[str, object]] = {"mild": {"risk": "low"}, "grave": {"risk": "high"}}
FREE = ("spend.stopped", "cache.hit", "checks.failed")
"""Written from the start; by nobody for certain; by `w` for certain."""
DOMAINS = dict.fromkeys(FREE, (False, True))
EXACT = (
    "spend.stopped",
    "!spend.stopped",
    "cache.hit",
    "!cache.hit",
    "spend.stopped && cache.hit",
    "intent.risk == 'high'",
    "intent.risk == 'low' && spend.stopped",
    "true",
)
CONDITIONS = (*EXACT, "checks.failed", "!checks.failed", "checks.failed || intent.risk == 'high'")
GUARANTEES = (
    Guarantee(no=("n",), without=("w",)),
    Guarantee(no=("n",), without=("w",), when="intent.risk == 'high'"),
    Guarantee(no=("n",), without=("w",), after=("s",)),
    Guarantee(no=("n", "s"), without=("w",), after=("s", "n"), when="intent.risk == 'high'"),
    Guarantee(every=("s",), reaches=("w",)),
    Guarantee(every=("s", "w"), reaches=("w",), when="intent.risk == 'low'"),
    Guarantee(no=("n",), without=("w",), after=("s",), where="cache.hit"),
    Guarantee(no=("n",), without=("s", "w"), after=("w", "n"), where="!cache.hit", when="intent.risk == 'low'"),
    Guarantee(no=("n",), without=("n",), after=("w",), where="spend.stopped || intent.risk == 'high'"),
    Guarantee(every=("s",), reaches=("w", "n"), where="spend.stopped && cache.hit"),
)

STUCK, FAILED = -2, -1
"""In the place of a branch's number: none is taken; the last of a node's ways is, as it fails."""


class Now(NamedTuple):
    node: str
    intent: str
    owed: bool
    visits: tuple[int, ...]
    checked: bool = False
    """A node has written `checks`."""


def branches_taken(drawn: Flow, now: Now, where: str | None = None) -> Iterator[tuple[int, bool]]:
    """The branch a run takes, and whether `where` holds, for each combination of values that nobody knows before."""
    choices = [(False, True), (False, True, None), (False, True) if now.checked else (False, True, None)]
    for values in itertools.product(*choices):
        facts: dict[str, object] = {name: value for name, value in zip(FREE, values, strict=True) if value is not None}
        if now.intent:
            facts["intent.risk"] = INTENTS[now.intent]["risk"]
        holds = where is None or known(where, facts) is True
        for index, edge in enumerate(drawn.nodes[now.node].edges):
            if not free_to_enter(drawn, now, edge.to):
                continue
            if edge.condition is None or known(edge.condition, facts):
                yield index, holds
                break
        else:
            yield STUCK, holds


def free_to_enter(drawn: Flow, now: Now, name: str) -> bool:
    limit = drawn.nodes[name].max_visits
    return limit is None or now.visits[list(drawn.nodes).index(name)] < limit


def entered(drawn: Flow, visits: tuple[int, ...], name: str) -> tuple[int, ...]:
    # counts beyond every limit need not be told apart
    return tuple(min(3, count + (other == name)) for other, count in zip(drawn.nodes, visits, strict=True))
