"""From a workflow's file to a `Runner`: the one place where the services of its nodes are assembled.

Heavy libraries are loaded by the rooms when they are first used; opening a workflow costs what its checks and proofs
cost.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sluicegate.graphs.config.inputs.joint import joint_card, misfit
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.conversations.turns import Conversations
from sluicegate.graphs.runtime.budgets.bounds import RouteBounds
from sluicegate.graphs.runtime.budgets.passages import LongestPassages
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.slm_reviewer import reviewer
from sluicegate.graphs.runtime.steps.child_run import NestedWorkflow
from sluicegate.graphs.runtime.versions import keep
from sluicegate.graphs.runtime.waiting.approvals import Approvals, call_ahead
from sluicegate.home import home
from sluicegate.models.chain import ModelSet
from sluicegate.models.embedded.weights import pipeline
from sluicegate.nodes.model_governance import ModelsOfStep
from sluicegate.nodes.prompts import PromptSet
from sluicegate.nodes.sources import named
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.observe.tracing.instrument import TracedModels, traced
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.policies.cache.cache import AnswerCache, AnswerStore
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.readable import ReadFilters
from sluicegate.policies.config import CacheConfig
from sluicegate.policies.guards.library import warm
from sluicegate.policies.guards.set import GuardSet
from sluicegate.policies.guards.vault import MemoryVault, RootVault, SparingVault
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.retrieval.lance import LanceRetriever
from sluicegate.routing.joint.thresholds import (
    DRIFT,
    ConfidenceWithThresholds,
    JointThresholds,
    RouterWithThresholds,
    source,
)
from sluicegate.services import (
    Confidence,
    EmbeddingRequest,
    Models,
    Retriever,
    Router,
    Semantic,
    Services,
    ToolFacts,
    Vault,
    WorkflowFacts,
)
from sluicegate.storage.database import Place, place

if TYPE_CHECKING:
    from sluicegate.graphs.runtime.steps.nested_tracer import NestedTracer
    from sluicegate.observe.auditor import Auditor
    from sluicegate.observe.tracing.spans import Trace
    from sluicegate.observe.tracing.tracer import RecordingTracer
    from sluicegate.policies.guards.checking import Admitted, Review
    from sluicegate.routing.intent.router import EmbedNow

__all__ = ["Opened", "open_workflow"]

log = logging.getLogger(__name__)


class _Part(Protocol):
    def close(self) -> None: ...


P = TypeVar("P", bound=_Part)


@dataclass(frozen=True, slots=True)
class Opened:
    """A workflow that is ready to run, with its parts."""

    workflow: Workflow
    runner: Runner
    models: ModelSet
    tracer: "RecordingTracer"
    bounds: RouteBounds
    """What its runs can cost."""
    parts: ExitStack = field(default_factory=ExitStack)
    """What it has opened."""
    retriever: LanceRetriever | None = None
    """Its own, as its parent asks it who may read what; None where a test has stand-ins."""

    def close(self) -> None:
        """Close its files and threads; nothing may run on it any more. A program that ends need not call it."""
        self.parts.close()

    def warm(self) -> None:
        """Load models and guards in the background, so that the first request does not wait for them."""
        self.models.warm()
        warm()


def open_workflow(
    path: Path | str | Workflow,
    *,
    tracer: "RecordingTracer | None" = None,
    models: ModelSet | None = None,
    dry: bool = False,
    shadow: bool = False,
    migrates: str = "",
    at: Place | None = None,
    change: Callable[[Services], Services] = lambda services: services,
) -> Opened:
    """Load, check, prove and assemble a workflow.

    `dry` simulates tools with effects; `shadow` marks the runs; `migrates` lets runs of another
    digest continue; `at` is where checkpoints and decisions are kept, by default the home or its server; `change` may
    swap services, also those of workflows within this one, for replays and tests.
    Raises `ConfigError` (the workflow may not start), `PolicyError` SG201, `ModelError` SG310 to SG312 (the router).
    """
    workflow = path if isinstance(path, Workflow) else load(path)
    with ExitStack() as parts:
        how = _Opening(parts, models, change, dry=dry, shadow=shadow, migrates=migrates, at=at or place())
        return replace(_assembled(workflow, how, tracer), parts=parts.pop_all())


@dataclass(frozen=True, slots=True)
class _Opening:
    """How a workflow is opened, and those within it."""

    parts: ExitStack
    models: ModelSet | None
    change: Callable[[Services], Services]
    dry: bool
    shadow: bool
    migrates: str
    at: Place
    """Where checkpoints and decisions are kept."""


@dataclass(frozen=True, slots=True)
class _Outside:
    """What a workflow shares with the one that it is a node of."""

    runs: "NestedTracer"
    """The tracer of its runs."""
    vault: Vault


def _assembled(
    workflow: Workflow, how: _Opening, tracer: "RecordingTracer | None", outside: _Outside | None = None
) -> Opened:
    def part(made: P) -> P:
        how.parts.callback(made.close)
        return made

    folder, shared, config, resolved = home(), place(), workflow.config, workflow.resolved
    dry, shadow = how.dry, how.shadow
    for prompt in resolved.prompts.values():
        if prompt.warning:
            log.warning("%s", prompt.warning)
    models = how.models or ModelSet(config.models)
    if rates := config.limits.models:
        models.pace(part(RateLimiter(shared)).turns(rates, config.limits.wait))
    switch = KillSwitch()
    policy = CedarEngine(resolved.policies, schema=resolved.schema, switch=switch)
    reading = ReadFilters(policy)
    knowledge = folder / "indexes" / workflow.name
    asked_abroad = None
    if tracer is None:
        # one of its own, which outlives the run's: what ends a run may still be on its way when that is closed
        asked_abroad = part(LanceRetriever(knowledge, config.indexes, models, readable=reading.readable))
        tracer = part(_tracer(workflow, part(open_store()), asked_abroad))
    runs = outside.runs if outside else tracer
    keep(workflow, present=not (dry or shadow or outside))
    asked = ModelsOfStep(TracedModels(models, runs))
    # a run without effects writes neither to the audit log nor to the store of personal data
    auditor = None if dry or shadow else part(_auditor(workflow, policy.digest))
    vault: Vault = SparingVault(auditor.vault) if auditor else MemoryVault()
    if outside:
        vault = RootVault(outside.vault)
    retriever = part(LanceRetriever(knowledge, config.indexes, asked, readable=reading.readable))
    within = _children(workflow, how, tracer, runs, vault)
    for each in filter(None, (retriever, asked_abroad) if within else ()):
        each.include(child.retriever for child in within.values() if child.retriever)
    review, admitted = _review(workflow, asked)
    router, confidence = _router(workflow, asked), _confidence(workflow)
    joint = _joint(workflow, how.parts)
    services = Services(
        workflow=WorkflowFacts(
            name=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            intents={label: intent.facts() for label, intent in config.intents.items()},
            indexes=tuple(config.indexes),
            cache_ttl_s=config.cache.ttl if config.cache.answers != "off" else 0.0,
            semantic=_semantic(config.cache),
            time_zone=config.policy.time_zone,
            ahead=call_ahead(workflow.flow, workflow.conditions, workflow.settings),
            tools={
                name: ToolFacts(resolved.tools[name].hints, config.budget.tool_price(name)) for name in workflow.tools
            },
        ),
        models=models,
        router=RouterWithThresholds(router, joint) if joint else router,
        policy=policy,
        retriever=retriever,
        guards=GuardSet(
            config.guards,
            review=review,
            admitted=admitted,
            pipeline=pipeline,
            find=workflow.resolved.artifact,
            vault=vault,
        ),
        ledger=part(open_ledger(config.budget, switch=switch)),
        cache=part(AnswerCache(AnswerStore(max_mb=config.cache.max_mb))),
        tools=part(
            ToolRunner(folder, memory=shared, allowed={name: resolved.tools[name] for name in workflow.tools}, dry=dry)
        ),
        prompts=PromptSet({name: prompt.text for name, prompt in resolved.prompts.items()}),
        tracer=runs,
        confidence=ConfidenceWithThresholds(confidence, joint) if joint else confidence,
        now=lambda: datetime.now(UTC),
        audit=auditor,
        children={
            node: NestedWorkflow(node, one.runner, one.bounds, workflow.gives[node], child.config.inputs)
            for node, child in workflow.children.items()
            for one in (within[child.digest],)
        },
    )
    resolved.verify_artifacts()
    services = traced(how.change(services), runs)
    bounds = RouteBounds(workflow.flow, workflow.settings, LongestPassages(retriever.folder_of), config.budget)
    graph = build(
        workflow.flow,
        workflow.conditions,
        workflow.settings,
        lists=workflow.lists,
        bounds=bounds,
        name=workflow.name,
        checkpointer=part(open_checkpoints(how.at)),
    )
    talks = config.conversation and Conversations(how.at, workflow.name, config.conversation, now=services.now)
    runner = Runner(
        graph,
        services,
        tracer=runs,
        approvals=part(Approvals(how.at)),
        shadow=shadow,
        migrates=how.migrates,
        vault=vault,
        conversations=talks and part(talks),
    )
    return Opened(workflow, runner, models, tracer, bounds, retriever=retriever)


def _children(
    workflow: Workflow, how: _Opening, tracer: "RecordingTracer", runs: "RecordingTracer | NestedTracer", vault: Vault
) -> dict[str, Opened]:
    """The workflows that are nodes of this one, each opened once, by their digests."""
    from sluicegate.graphs.runtime.steps.nested_tracer import NestedTracer

    found: dict[str, Opened] = {}
    for child in workflow.children.values():
        if child.digest not in found:
            outside = _Outside(NestedTracer(runs, child.name), vault)
            found[child.digest] = _assembled(child, replace(how, migrates=""), tracer, outside)
    return found


def _semantic(cache: CacheConfig) -> Semantic | None:
    if cache.answers != "semantic":
        return None
    return Semantic(frozenset(cache.intents), cache.similarity, cache.embedder)


def _auditor(workflow: Workflow, policy_set: str) -> "Auditor":
    """The audit log's writer. Raises `RunError` SG606, SG607: a workflow that cannot be audited does not start."""
    from sluicegate.observe.audit.log import open_audit
    from sluicegate.observe.auditor import Auditor
    from sluicegate.observe.incidents import Incidents

    log = open_audit(workflow.config.audit)
    auditor = Auditor(
        log,
        Incidents(audit=log),
        workflow=workflow.name,
        version=workflow.version,
        digest=workflow.digest,
        policy_set=policy_set,
    )
    auditor.opened((waiver.guarantee, waiver.reason) for waiver in workflow.waivers)
    return auditor


def _tracer(workflow: Workflow, store: Store, retriever: Retriever) -> "RecordingTracer":
    from sluicegate.observe.exporters.destinations import configured_exporters
    from sluicegate.observe.tracing.masking import Masking
    from sluicegate.observe.tracing.tracer import RecordingTracer

    settings = workflow.config.tracing

    def withheld(trace: "Trace") -> bool:
        """Whether those who read where traces are sent may not read a document of the run, in whatever segment."""
        spans = (span["attributes"] for span in store.spans(trace.info.run_id))
        documents = named([*spans, *(record.attributes for record in trace.records)])
        return bool(documents) and len(retriever.readable(documents, settings.readers.principal)) < len(documents)

    return RecordingTracer(store, configured_exporters(withheld), Masking(settings))


def _router(workflow: Workflow, models: Models) -> Router:
    """The router that the config names. Raises `ModelError` SG310, SG311, SG312."""
    from sluicegate.routing.factory import open_router

    config = workflow.config
    return open_router(
        config.router,
        intents={label: intent.describe for label, intent in config.intents.items()},
        out_of_scope=workflow.out_of_scope,
        models=models,
        embed_like=_embed_like(models, config.router.embedder),
        find=workflow.resolved.artifact,
        where=workflow.name,
        fit=f"sluicegate router fit {workflow.path}",
    )


def _review(workflow: Workflow, models: Models) -> "tuple[Review, Admitted]":
    """How `slm-review` judges, and whether it may. Raises `ModelError` SG310 to SG312."""
    settings = workflow.config.guards.slm_review
    if settings.engine == "generate":
        return reviewer(models), lambda: models.admitted("slm", "review")
    from sluicegate.routing.review.reviewer import HeadReviewer

    async def fitted() -> bool:
        return True

    folder = workflow.resolved.artifact(settings.artifact or "")
    return HeadReviewer(folder, _embed_like(models, settings.embedder)), fitted


def _embed_like(models: Models, role: str) -> "Callable[[str], EmbedNow]":
    """Gives an embedding call of a role that refuses (SG312) every embedder but the one with a fingerprint."""

    def embed_like(fingerprint: str) -> "EmbedNow":
        async def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
            return (await models.embed(EmbeddingRequest(role, texts, like=fingerprint))).vectors

        return embed

    return embed_like


def _joint(workflow: Workflow, parts: ExitStack) -> JointThresholds | None:
    """The thresholds that were chosen together, where the workflow names any. Raises `ModelError` SG311, SG312."""
    from sluicegate.observe.incidents import Incidents

    joint, card = workflow.config.router.joint, joint_card(workflow.config, workflow.resolved)
    if joint is None:
        return None
    if card and (other := misfit(workflow.config, workflow.settings, workflow.resolved, card)):
        log.warning("SG312 the joint thresholds were fitted to %s: %s thresholds serve", other, joint.on_drift)
        card = None
    if card is None:
        return JointThresholds(None, joint.on_drift, lambda: False)
    incidents, named = Incidents(look=True), source(card)
    parts.callback(incidents.disconnect)
    return JointThresholds(card, joint.on_drift, incidents.watch(DRIFT, system=workflow.name, source=named))


def _confidence(workflow: Workflow) -> Confidence:
    """The confidence in answers; unfitted without an artifact of graded answers. Raises `ModelError` SG310 to SG312."""
    from sluicegate.routing.answers.answer import load_answers

    named = workflow.config.router.answers
    folder = workflow.resolved.artifact(named) if named else None
    return load_answers(folder, fit=f"sluicegate router fit {workflow.path} --task answer")
