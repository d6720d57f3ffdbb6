"""The upper bound of what a request, and so a batch, can cost, before it starts.

A call is reserved at its upper bound before it is made (`nodes.model_governance`). The same bound, summed along the
dearest route that a run can take (`graphs.runtime.budgets.bounds`), holds on every path: the request's own tokens, the
longest passages of the index and the output limits, priced along the role's whole chain; all branches of a fork, as
many items as there may be, a loop as often as it may be gone round, and the runs of sub-workflows.
`budget.per_run_usd` is the bound where it is lower, and the only one where there is no other (a paid embedder, a paid
router, a plug-in that writes and does not tell of its calls).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sluicegate.errors import BudgetError
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.nodes.kinds.tag import Tag
from sluicegate.nodes.registry import BUILT_IN, kinds
from sluicegate.services import Services

__all__ = ["BatchCost", "CostBounds", "estimate", "must_fit"]

_WRITES = frozenset({"generates", "classifies", "checks"})
"""Effects for which a node of an unknown kind may call a model."""


@dataclass(frozen=True, slots=True)
class BatchCost:
    """The upper bound of a batch, US dollars."""

    requests: int
    usd: float | None
    """None: unbounded."""
    by: str
    """What bounds it, as text."""


class CostBounds:
    """The upper bound of each request of one workflow. Reads its indexes once; calls no model."""

    def __init__(self, opened: Opened) -> None:
        # a variant's roles map to others
        self._opened, self._services = opened, opened.runner.services
        self.cap = opened.workflow.config.budget.per_run_usd
        self.unbounded = _unbounded(opened.workflow, self._services)
        self._paid = any(_paid_roles(*one) for one in _family(opened.workflow, self._services))

    def of(self, text: str) -> float | None:
        """US dollars that a run of this request costs at most; None without a bound. Raises `RetrievalError` SG401,
        SG402 when a paid model would be given passages of an index that is not."""
        if self.unbounded:
            return self.cap
        found = self._opened.bounds.of_run(text, self._services).usd if self._paid else 0.0
        return found if self.cap is None else min(found, self.cap)


def _family(workflow: Workflow, services: Services) -> Iterator[tuple[Workflow, Services]]:
    """A workflow with its services, and all within it."""
    yield workflow, services
    for node, child in workflow.children.items():
        yield from _family(child, cast("Any", services.children[node]).runner.services)


def _paid_roles(workflow: Workflow, services: Services) -> list[str]:
    return [role for role in workflow.config.models if services.models.bound(role, 1_000_000, 1_000_000) > 0]


def estimate(bounds: CostBounds, texts: Sequence[str]) -> BatchCost:
    """The upper bound of a batch."""
    found = [bounds.of(text) for text in texts]
    known = [usd for usd in found if usd is not None]
    if len(known) < len(found):
        return BatchCost(len(texts), None, f"nothing: {bounds.unbounded}, and no `budget.per_run_usd`")
    dearest = max(known, default=0.0)
    capped = bounds.cap is not None and dearest == bounds.cap and dearest > 0
    by = "`budget.per_run_usd`" if capped else "prompts, passages and caps on the output, at list price"
    return BatchCost(len(texts), sum(known), by)


def must_fit(found: BatchCost, left: float | None, *, of: str) -> None:
    """Raises `BudgetError` SG503 when a batch may cost more than is `left`; None is no cap."""
    if found.usd is not None and left is not None and found.usd > left:
        raise BudgetError(
            "SG503",
            f"{found.requests} requests may cost up to ${found.usd:.4f}, and {of} has ${max(left, 0.0):.4f} left",
            hint="Send fewer, raise the cap, or start anyway with --over-budget",
        )


def _unbounded(workflow: Workflow, services: Services) -> str:
    """What may spend besides the calls that kinds tell of; empty when nothing does."""
    return next(filter(None, (_beyond(*one) for one in _family(workflow, services))), "")


def _beyond(workflow: Workflow, services: Services) -> str:
    config, paid_roles = workflow.config, _paid_roles(workflow, services)
    plugged = [
        f"the kind {node.kind!r} may ask a model"
        for node in workflow.flow.nodes.values()
        if node.effects & _WRITES and kinds()[node.kind] not in BUILT_IN and kinds()[node.kind].calls is None
    ]
    asked = {config.router.embedder: "the router's embedder", "embedder": "an embedder"}
    asked |= {index.embedder: f"the embedder of {name}" for name, index in config.indexes.items()}
    tagging = {name: one for name, one in workflow.settings.items() if isinstance(one, Tag)}
    asked |= {one.model: f"the embedder of {name}" for name, one in tagging.items()}
    classifies = any("classifies" in node.effects for node in workflow.flow.nodes.values())
    if classifies and config.router.strategy != "head":
        asked[config.router.slm] = "the router's model"
    if config.cache.answers == "semantic":
        asked[config.cache.embedder] = "the cache's embedder"
    if any("slm-review" in getattr(settings, "guards", ()) for settings in workflow.settings.values()):
        review = config.guards.slm_review
        asked["slm" if review.engine == "generate" else review.embedder] = "the model of `slm-review`"
    paid = [f"{what} costs money" for role, what in asked.items() if role in paid_roles]
    return next(iter([*paid, *(plugged if paid_roles else [])]), "")
