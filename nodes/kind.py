"""What a kind of node is to the config language, the proofs and the run.

A kind is a `NodeKind` record. A package adds its own by an entry point in the group ``sluicegate.nodes`` that names
such a record; a config then uses it by its `name`. A kind's `make` gets the node's name and its validated settings, and
returns the node: ``async def node(state, services) -> update``, which returns only the keys it changes and touches the
outside world only through `services`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from sluicegate.nodes.budget.call_bounds import CallBound, PromptSizes
from sluicegate.services import Observation, Services
from sluicegate.state import FORGOTTEN, MERGED, Failure, State

__all__ = ["Effect", "Fork", "Node", "NodeKind", "Role"]

Effect = Literal[
    "condenses",
    "classifies",
    "tags",
    "decides-policy",
    "looks-up",
    "retrieves",
    "generates",
    "calls-tool",
    "checks",
    "asks-human",
    "asks-requester",
    "waits",
    "maps",
    "ends",
]
"""What a kind does, as far as it matters to proofs."""

GIVEN = frozenset({"request", "principal", "run", "inputs", "conversation", "intent", "item"})
"""What every node gets: the request or the item, and what policies and budgets ask about whoever calls a model."""

Role = Literal["generates-answer", "sends", "changes-approved"]
"""What follows from a kind's declarations: see `NodeKind.roles`."""

_ALWAYS_WRITES: Mapping[str, frozenset[str]] = {
    "condenses": frozenset({"request"}),
    "classifies": frozenset({"intent", "route"}),
    "decides-policy": frozenset({"policy"}),
    "looks-up": frozenset({"cache"}),
    "generates": frozenset({"answer"}),
    "checks": frozenset({"checks"}),
    "asks-human": frozenset({"approval"}),
    "asks-requester": frozenset({"request"}),
    "calls-tool": frozenset({"tool_calls"}),
    "maps": frozenset({"items", "failed_items"}),
}
"""The state keys that a kind with an effect writes at every visit, if it declares them at all."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a run goes on in several branches side by side."""

    branches: tuple[str, ...]
    """The first node of each."""
    join: str
    """The node at which all of them come together."""
    siblings: Literal["await", "cancel"] = "await"
    """What becomes of the others when one has failed: they come to their ends, or are stopped."""


Node: TypeAlias = Callable[[State, Services], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class NodeKind:
    """One kind of node."""

    name: str
    doc: str
    """One sentence for the config reference."""
    settings: type[BaseModel]
    """The settings of a node of this kind, besides those that every node may have."""
    make: Callable[[str, Any], Node]
    """``make(node_name, settings) -> node``."""
    writes: frozenset[str]
    """The state keys it may change. A run whose node changes another fails (SG628)."""
    effects: frozenset[Effect] = field(default_factory=frozenset[Effect])
    fills: frozenset[str] = frozenset()
    """Placeholders that its prompt may use, as ``{{name}}``; without a declaration prompts are not checked."""
    tells: tuple[str, ...] = ()
    """Fields that explain its branch, such as ``cache.question``; those it wrote are recorded with the branch."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """What it writes under `extra` of the state: each key with its type (``bool``, ``int``, ``float``, ``str``,
    ``list[str]``, a `Literal` of texts). A condition reads it as ``extra.KEY``; no other key may be read or written."""
    sends: bool | None = None
    """Whether the requester gets the draft from it; by default from an end, and from nothing else."""
    drafts: bool | Callable[[Any], bool] = True
    """Whether the `answer` that it writes is a draft, to be checked before it is sent; may follow from its settings."""
    failed: Callable[[str, Mapping[str, Any]], Failure | None] | None = None
    """``failed(node_name, update)``: the failure that it reports in what it writes, instead of raising it."""
    fork: Callable[[Any], Fork] | None = None
    """The branches of a node with these settings; then `then` is not for it. None for a kind that takes one branch."""
    reads: frozenset[str] | Callable[[Any], frozenset[str]] | None = None
    """The state keys that its node is given, besides `GIVEN` and those of `sluicegate.state.MERGED`; None for all. May
    follow from its settings. In a branch, a node may not read what a sibling writes."""
    leaves: Callable[[Any], frozenset[str]] | None = None
    """The keys of `writes` that a node with these settings never changes."""
    calls: Callable[[Any, PromptSizes], Iterable[CallBound]] | None = None
    """The calls of models that a visit of a node with these settings makes at most, each at its upper bound; None for
    a kind that calls none, or does not know. What is not told is reserved call by call."""
    observation: Observation = "span"
    """Its Langfuse observation type."""

    @property
    def always_writes(self) -> frozenset[str]:
        """The state keys that it writes at every visit. A run whose node leaves one out fails (SG628)."""
        return self.writes & {key for effect in self.effects for key in _ALWAYS_WRITES.get(effect, ())}

    @property
    def forgets(self) -> frozenset[str]:
        """The state keys that it takes away unless it fails: a condition that reads one does not hold until a node has
        written it anew."""
        return FORGOTTEN if "asks-requester" in self.effects else frozenset()

    @property
    def withholds(self) -> bool:
        """Whether it ends a run without sending its draft."""
        return "ends" in self.effects and self.sends is False

    def reads_of(self, settings: Any) -> frozenset[str] | None:
        """The state keys that a node with these settings reads, or that decide whether it may call a model."""
        declared = self.reads(settings) if callable(self.reads) else self.reads
        return None if declared is None else declared | GIVEN | MERGED

    def writes_of(self, settings: Any) -> frozenset[str]:
        """The state keys that a node with these settings may change; of `extra`, each as ``extra.KEY``."""
        left = self.leaves(settings) if self.leaves else frozenset[str]()
        return (self.writes - left) | {f"extra.{key}" for key in self.extra}

    def roles(self, settings: Any) -> frozenset[str]:
        """What a node of this kind does in a guarantee: its effects, and what follows from its declarations.

        `generates-answer`: it writes a draft. `sends`: the requester gets the draft, or what this end writes.
        `changes-approved`: an approval that was given before does not cover what is sent, or called, after it.
        """
        found, ends = set[str](self.effects), "ends" in self.effects
        drafts = self.drafts(settings) if callable(self.drafts) else self.drafts
        if "answer" in self.writes and drafts:
            found.add("generates-answer")
        if ends if self.sends is None else self.sends or (ends and "generates-answer" in found):
            found.add("sends")
        # a tool's result is what the approved call was for
        reports = "calls-tool" in found and "generates" not in found
        words = "answer" in self.writes and not reports and (drafts or not found & {"checks", "asks-human", "ends"})
        if words or self.forgets or (self.writes & {"intent", "extraction"} and "asks-human" not in found):
            found.add("changes-approved")
        return frozenset(found)
