"""The upper bound of what a request, and so a batch, can cost, before it starts.

A call is reserved at its upper bound before it is made (`nodes.model_governance`). The same bound, summed over every
visit that a run can make to the nodes that write, holds on every path: the request's own tokens, the longest passages
of the index and the output limits, priced along the role's whole chain. `budget.per_run_usd` is the bound where it is
lower, and the only one where there is no other (a paid embedder, a paid router, a plug-in that writes).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluicegate.errors import BudgetError
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.proofs.shape import reached, successors
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.home import home
from sluicegate.models.tokens import upper_tokens
from sluicegate.nodes.kinds.answering import LlmSynthesize, SlmAnswer, Summarize
from sluicegate.nodes.kinds.extract import Extract
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.kinds.tag import Tag
from sluicegate.nodes.registry import BUILT_IN
from sluicegate.retrieval.catalog import Catalog

__all__ = ["BatchCost", "CostBounds", "estimate", "must_fit", "visits"]

_AROUND = 100
"""Tokens of numbers and headings around the sources of a prompt, and of the words around an answer sent back."""
_FEEDBACK = 400
"""Tokens of the feedback on a failed first draft."""
_PASSAGE = 12
"""Tokens of a passage's number and the lines around it."""
_WRITES = frozenset({"generates", "classifies", "checks"})
"""Effects for which a node of an unknown kind may call a model."""


@dataclass(frozen=True, slots=True)
class BatchCost:
    """The upper bound of a batch, US dollars."""

    requests: int
    usd: float | None
    """None: unbounded."""
    dearest_usd: float | None
    """Of its most expensive request."""
    by: str
    """What bounds it, as text."""


class CostBounds:
    """The upper bound of each request of one workflow. Reads its indexes once; calls no model."""

    def __init__(self, opened: Opened) -> None:
        """Raises `RetrievalError` SG401, SG402 when a large model would be given passages of an index that is not."""
        services = opened.runner.services
        # a variant's roles map to others
        self._workflow, self._models = opened.workflow, services.models
        self._prompts = services.prompts
        schemas = (json.dumps(services.tools.schema(tool)) for tool in opened.workflow.tools)
        self._arguments = max(schemas, key=len, default="")
        self.cap = opened.workflow.config.budget.per_run_usd
        self.unbounded = _unbounded(opened)
        self._paid = [
            (name, settings)
            for name, settings in opened.workflow.settings.items()
            if isinstance(settings, SlmAnswer | Extract) and self._is_paid(settings.model)
        ]
        self._visits = visits(opened.workflow.flow)
        self._sources = _sources(opened.workflow) if self._paid and not self.unbounded else 0

    def of(self, text: str) -> float | None:
        """US dollars that a run of this request costs at most; None without a bound."""
        if self.unbounded:
            return self.cap
        found = sum(self._visits[name] * self._visit(settings, text) for name, settings in self._paid)
        return found if self.cap is None else min(found, self.cap)

    def _is_paid(self, role: str) -> bool:
        return self._models.bound(role, 1_000_000, 1_000_000) > 0

    def _visit(self, settings: SlmAnswer | Extract, text: str) -> float:
        cap = settings.max_tokens or max(
            (one.max_tokens for one in self._workflow.config.intents.values()), default=256
        )
        if isinstance(settings, Extract):
            fields = json.dumps(settings.fields) if settings.fields else self._arguments
            return self._call(settings.model, self._prompt(settings.prompt, text, fields=fields), cap, sent_back=True)
        sources = 0 if isinstance(settings, Summarize) and settings.of == "request" else self._sources
        named: set[str] = {settings.style, settings.again} if isinstance(settings, LlmSynthesize) else {settings.style}
        styles = {"write", "quote"} if "auto" in named else named
        sections = (settings.sections if isinstance(settings, LlmSynthesize) else []) or [""]
        return sum(
            max(
                self._call(
                    settings.model,
                    self._prompt(settings.prompt + ("-quote" if style == "quote" else ""), text, section=section)
                    + sources + _AROUND + _FEEDBACK,
                    cap,
                    sent_back=style == "quote",
                )
                for style in styles
            )
            for section in sections
        )  # fmt: skip

    def _prompt(self, id: str, text: str, **values: str) -> int:
        rendered = self._prompts.render(id, question=text, **values)
        return sum(self._models.tokens(message.content) for message in rendered.messages)

    def _call(self, role: str, prompt: int, answer: int, *, sent_back: bool) -> float:
        """As `governed` reserves it: an answer that must fit a schema may be sent back once."""
        if sent_back:
            prompt, answer = 2 * (prompt + answer) + _AROUND, 2 * answer
        return self._models.bound(role, prompt, answer)


def estimate(bounds: CostBounds, texts: Sequence[str]) -> BatchCost:
    """The upper bound of a batch."""
    found = [bounds.of(text) for text in texts]
    known = [usd for usd in found if usd is not None]
    if len(known) < len(found):
        return BatchCost(len(texts), None, None, f"nothing: {bounds.unbounded}, and no `budget.per_run_usd`")
    dearest = max(known, default=0.0)
    capped = bounds.cap is not None and dearest == bounds.cap and dearest > 0
    by = "`budget.per_run_usd`" if capped else "prompts, passages and caps on the output, at list price"
    return BatchCost(len(texts), sum(known), dearest, by)


def must_fit(found: BatchCost, left: float | None, *, of: str) -> None:
    """Raises `BudgetError` SG503 when a batch may cost more than is `left`; None is no cap."""
    if found.usd is not None and left is not None and found.usd > left:
        raise BudgetError(
            "SG503",
            f"{found.requests} requests may cost up to ${found.usd:.4f}, and {of} has ${max(left, 0.0):.4f} left",
            hint="Send fewer, raise the cap, or start anyway with --over-budget",
        )


def visits(flow: Flow) -> Mapping[str, int]:
    """How often a run can try each node.

    Every cycle has a node with `max_visits`, so between two visits to a node in it such a node was visited.
    """
    targets = successors(flow)
    reach = {name: reached(targets[name], targets) for name in flow.nodes}
    found: dict[str, int] = {}
    for name, node in flow.nodes.items():
        circle = [other for other in reach[name] if name in reach[other]]
        most = 1 + sum(flow.nodes[other].max_visits or 0 for other in circle)
        attempts = 1 + (node.limits.retry.times if node.limits.retry else 0)
        found[name] = (min(most, node.max_visits or most) if circle else 1) * attempts
    return found


def _sources(workflow: Workflow) -> int:
    """Tokens of a prompt's sources: as many passages as a search may return, each as long as the longest."""
    folder, most = home() / "indexes" / workflow.name, 0
    for settings in workflow.settings.values():
        if not isinstance(settings, Retrieve):
            continue
        catalog = Catalog(folder / settings.index)
        titles = (upper_tokens(document.title) for document in catalog.documents()[1].values())
        longest = max(map(upper_tokens, catalog.texts()), default=0) + max(titles, default=0)
        catalog.close()
        most = max(most, (settings.k or workflow.config.indexes[settings.index].k) * (longest + _PASSAGE))
    return most


def _unbounded(opened: Opened) -> str:
    """What may spend besides the nodes that write; empty when nothing does."""
    config, models = opened.workflow.config, opened.runner.services.models
    plugged = [
        f"the kind {node.kind!r} may ask a model"
        for node in opened.workflow.flow.nodes.values()
        if node.effects & _WRITES and all(kind.name != node.kind for kind in BUILT_IN)
    ]
    asked = {config.router.embedder: "the router's embedder", "embedder": "an embedder"}
    asked |= {index.embedder: f"the embedder of {name}" for name, index in config.indexes.items()}
    tagging = {name: one for name, one in opened.workflow.settings.items() if isinstance(one, Tag)}
    asked |= {one.model: f"the embedder of {name}" for name, one in tagging.items()}
    if config.router.strategy != "head":
        asked[config.router.slm] = "the router's model"
    if config.cache.answers == "semantic":
        asked[config.cache.embedder] = "the cache's embedder"
    if any("slm-review" in getattr(settings, "guards", ()) for settings in opened.workflow.settings.values()):
        review = config.guards.slm_review
        asked["slm" if review.engine == "generate" else review.embedder] = "the model of `slm-review`"
    paid = [
        f"{what} costs money"
        for role, what in asked.items()
        if role in config.models and models.bound(role, 1_000_000, 1_000_000) > 0
    ]
    any_paid = any(models.bound(role, 1_000_000, 1_000_000) > 0 for role in config.models)
    return next(iter([*paid, *(plugged if any_paid else [])]), "")
