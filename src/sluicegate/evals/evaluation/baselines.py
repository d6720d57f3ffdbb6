"""The workflow itself, and the two baselines it is compared with: everything on one model.

``all-slm``: every call for the role `llm` goes to the role `slm`, and the thresholds of routing and of answers are 0,
so that no request is escalated for low confidence. ``all-llm``: every call for `slm` goes to `llm`, and the thresholds
are above every confidence, so that every request takes its low-confidence branch. Policies, retrieval, prompts, guards,
tools and people stay as they are in both. The workflow's fallback chains apply: without an available large
model ``all-llm`` measures its fallback, and reports say so.

Every variant runs isolated: nothing is read from or written to the answer cache, tools with effects are simulated,
checkpoints, waiting approvals and the ledger are separate from the home's, and runs are marked as shadow runs.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.home import private_folder
from sluicegate.learning.threshold import NEVER
from sluicegate.policies.cache.cache import NoCache
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import (
    AnswerConfidence,
    AnswerFeatures,
    Classification,
    Completion,
    Confidence,
    EmbeddingRequest,
    Embeddings,
    LabelScale,
    ModelRequest,
    Models,
    ModelStep,
    ProbeTask,
    Router,
    Services,
)

__all__ = [
    "VARIANTS",
    "Metered",
    "RouterWithThreshold",
    "Variant",
    "baselines_of",
    "changed",
    "isolated",
    "metered",
    "opened_variant",
]

Variant = Literal["workflow", "all-slm", "all-llm"]

VARIANTS: tuple[Variant, ...] = ("workflow", "all-slm", "all-llm")


def baselines_of(workflow: Workflow) -> tuple[Variant, ...]:
    """The baselines that the workflow has models for: one without a large model has no ``all-llm``."""
    return tuple(variant for variant in VARIANTS[1:] if variant.removeprefix("all-") in workflow.config.models)


_ROLES: Mapping[Variant, Mapping[str, str]] = {
    "workflow": {},
    "all-slm": {"llm": "slm"},
    "all-llm": {"slm": "llm"},
}
_THRESHOLDS: Mapping[Variant, float | None] = {"workflow": None, "all-slm": 0.0, "all-llm": NEVER}


@dataclass(slots=True)
class Meter:
    """The totals of one run's calls."""

    list_usd: float = 0.0
    """At the list price of the primary models, whatever answered."""
    large: int | None = None
    """Calls for the role `llm`, where roles stand for others; None where a run's own count holds."""


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Generator[Meter]:
    """Count the calls made within, also those of tasks started within."""
    meter = Meter()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


class Metered(ModelStep):
    """`services.Models` with roles that stand for others, counting what calls cost at list price."""

    def __init__(self, models: Models, roles: Mapping[str, str] | None = None) -> None:
        super().__init__(models)
        self._roles = roles or {}

    async def chat(self, request: ModelRequest) -> Completion:
        role = self._role(request.role)
        completion = await self._models.chat(replace(request, role=role))
        if meter := _METER.get():
            meter.list_usd += self._models.price(role, completion.prompt_tokens, completion.completion_tokens)
            if self._roles:
                meter.large = (meter.large or 0) + (role == "llm")
        return completion

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        role = self._role(request.role)
        made = await self._models.embed(replace(request, role=role))
        if meter := _METER.get():
            meter.list_usd += self._models.price(role, sum(map(self.tokens, request.texts)), 0)
        return made

    async def admitted(self, role: str, task: ProbeTask) -> bool:
        return await self._models.admitted(self._role(role), task)

    async def label_scale(self, role: str) -> LabelScale | None:
        return await self._models.label_scale(self._role(role))

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self._models.price(self._role(role), prompt_tokens, completion_tokens)

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self._models.bound(self._role(role), prompt_tokens, completion_tokens)

    def describe(self, role: str) -> str:
        return self._models.describe(self._role(role))

    def chain(self, role: str) -> tuple[str, ...]:
        return self._models.chain(self._role(role))

    def _role(self, role: str) -> str:
        return self._roles.get(role, role)


class RouterWithThreshold:
    """`services.Router` with another threshold: 0 escalates no request, one above every confidence escalates all."""

    def __init__(self, router: Router, threshold: float) -> None:
        self._router, self._threshold = router, threshold

    async def classify(self, text: str) -> Classification:
        found = await self._router.classify(text)
        # a request escalates below the threshold of its label, and from that of escalation on
        escalation = found.escalation and replace(found.escalation, threshold=NEVER - self._threshold)
        return replace(found, threshold=self._threshold, escalation=escalation)


class ConfidenceWithThreshold:
    """`services.Confidence` with another threshold."""

    def __init__(self, confidence: Confidence, threshold: float) -> None:
        self._confidence, self._threshold, self.like = confidence, threshold, confidence.like

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        return replace(self._confidence(evidence), threshold=self._threshold)


def changed(services: Services, variant: Variant = "workflow") -> Services:
    """The services of a variant."""
    threshold = _THRESHOLDS[variant]
    return replace(
        services,
        models=Metered(services.models, _ROLES[variant]),
        router=services.router if threshold is None else RouterWithThreshold(services.router, threshold),
        confidence=services.confidence
        if threshold is None
        else ConfidenceWithThreshold(services.confidence, threshold),
        cache=NoCache(),
    )


def opened_variant(path: Path | str | Workflow, folder: Path, variant: Variant = "workflow") -> Opened:
    """A variant ready to run, isolated in `folder`. A workflow within it that lacks the baseline's model runs as it is.

    Raises as `open_workflow` does.
    """
    workflow = path if isinstance(path, Workflow) else load(path)
    fitting = {one.name for one in workflow.family if variant in baselines_of(one)}

    def change(services: Services) -> Services:
        return changed(services, variant if services.workflow.name in fitting else "workflow")

    return isolated(workflow, folder, change)


def isolated(path: Path | str | Workflow, folder: Path, change: Callable[[Services], Services]) -> Opened:
    """A workflow that runs dry, marked as shadow, with checkpoints and approvals of its own in `folder`."""
    workflow = path if isinstance(path, Workflow) else load(path)
    private_folder(folder)
    # an evaluation must not use up the budgets of the users whose requests it repeats
    budgets = {one.name: one.config.budget for one in workflow.family}

    def apart(services: Services) -> Services:
        ledger = SqliteLedger(budgets[services.workflow.name], folder / "ledger.sqlite", switch=KillSwitch())
        return change(replace(services, ledger=ledger))

    return open_workflow(workflow, dry=True, shadow=True, at=folder, change=apart)
