"""The shape of a workflow: what the proofs reason about and the pictures show.

A flow is a config reduced to nodes, edges and intents, in plain data. `graphs/config/load.py` makes it, `graphs/proofs`
proves guarantees on it and `graphs/picture/picture.py` draws it; none of them needs the config's models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sluicegate.errors import Place
from sluicegate.nodes.attempts import AttemptLimits

__all__ = ["EACH", "ON_ERROR", "Contract", "Edge", "Flow", "FlowNode", "Known"]

ON_ERROR = "on_error"
"""What stands for a condition where a node failed: in the trail, in paths, in pictures."""
EACH = "each item"
"""What stands for a condition where a for-each begins an item."""


class Known(Protocol):
    """What is known about the conditions, each by its CEL text."""

    def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
        """The value of a condition under partial facts such as ``{"intent.risk": "high"}``; None when others decide.

        It must never say true or false where some state with these facts says otherwise.
        """
        ...

    def reads(self, condition: str, /) -> frozenset[str]:
        """Every field that a condition depends on; one left out would make the proofs unsound."""
        ...


@dataclass(frozen=True, slots=True)
class Edge:
    """One branch; branches are tried in order, and one to a node whose visits are used up is skipped."""

    to: str
    condition: str | None = None
    """CEL text; None for an unconditional edge and for ``otherwise``."""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class FlowNode:
    """One node; without edges it is an end."""

    name: str
    kind: str
    effects: frozenset[str] = frozenset()
    """What it does in a guarantee; see `sluicegate.nodes.kind.NodeKind.roles`."""
    edges: tuple[Edge, ...] = ()
    max_visits: int | None = None
    """How often one run may enter it; None for no limit."""
    place: Place | None = None
    writes: frozenset[str] = frozenset()
    """The state keys it may change, as its kind declares them; a writer of `intent` may change its facts."""
    reads: frozenset[str] | None = frozenset()
    """The state keys that it reads besides those of its conditions; None for all that there are."""
    always_writes: frozenset[str] = frozenset()
    """Those that it writes at every visit."""
    forgets: frozenset[str] = frozenset()
    """Those that it takes away unless it fails."""
    guards: frozenset[str] = frozenset()
    """What it checks; a check with more of them is the stronger one."""
    whole_text: frozenset[str] = frozenset()
    """Those of its guards that cannot judge a draft before it is whole."""
    on_error: Edge | None = None
    """Where a run goes on when the node fails; then it has written nothing but `failure`."""
    limits: AttemptLimits = field(default_factory=AttemptLimits)
    join: str = ""
    """Of a fork, the node at which its branches come together: then every one of its edges is taken, each the first of
    a branch, and what the branches do is merged before this node. Empty for a node that takes one of its edges."""
    siblings: Literal["await", "cancel"] = "await"
    """Of a fork, what becomes of the other branches when one has failed."""
    do: str = ""
    """Of a `for-each`: where a run begins for each item."""
    collects: str = ""
    """Of a `for-each`: the name of its results."""
    within: str = ""
    """The `for-each` to which it belongs: it is visited for each item, and the edge back there ends the item."""
    child: "Contract | None" = None
    """The workflow that it runs."""
    ways: tuple[Edge, ...] = field(init=False, repr=False, compare=False)
    """Every edge by which a run may leave it: its branches, and last the one of its failure."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ways", (*self.edges, *((self.on_error,) if self.on_error else ())))

    @property
    def drawn(self) -> tuple[Edge, ...]:
        """`ways`, and after them the one to what is done for an item: what `taken` and `said` count by."""
        return (*self.ways, *((Edge(self.do),) if self.do else ()))

    def returns(self, edge: Edge) -> bool:
        """Whether an edge ends an item."""
        return bool(self.within) and edge.to == self.within

    def taken(self, way: int) -> str | None:
        """The condition of a way, of which the one after `ways` leads to what is done for an item."""
        if way < len(self.edges):
            return self.edges[way].condition
        return ON_ERROR if way < len(self.ways) else EACH

    def said(self, way: int) -> str:
        """The condition of a way in words; empty where it is the only branch."""
        if self.join and way < len(self.edges):
            return ""
        return self.taken(way) or ("otherwise" if len(self.edges) > 1 else "")


@dataclass(frozen=True, slots=True, eq=False)
class Contract:
    """A workflow that is a node of another one, as that one's proofs and pictures see it."""

    workflow: str
    flow: "Flow"
    known: Known
    """Its own conditions."""
    domains: Mapping[str, Sequence[object]]
    """As `graphs.proofs.prove` takes them."""
    takes: frozenset[str]
    """The state keys that come back of it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A workflow's graph with the known facts of each intent."""

    start: str
    nodes: Mapping[str, FlowNode]
    """By name, in the order of the config. Every edge leads to one of them."""
    intents: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])
    """Every label a run can get, with what is true of it, such as ``{"risk": "high", "task": "tool"}``."""
    waived: tuple[str, ...] = ()
    """The built-in guarantees that do not hold here, each with its reason, for pictures."""

    def known_of(self, intent: str) -> dict[str, object]:
        """What conditions know of a request of this intent, by their fields' names."""
        return {**{f"intent.{name}": value for name, value in self.intents[intent].items()}, "intent.label": intent}

    def left(self, edge: Edge, visits: Mapping[str, int]) -> bool:
        """Whether an edge's target has visits left, after these."""
        limit = self.nodes[edge.to].max_visits
        return limit is None or visits.get(edge.to, 0) < limit
