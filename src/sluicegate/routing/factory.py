"""From a workflow's `router:` block to the router that serves it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sluicegate.routing.config import RouterConfig
from sluicegate.routing.escalation.escalate import EscalatingRouter, load_escalation
from sluicegate.routing.intent.artifact import check_fits, read_artifact
from sluicegate.routing.intent.cascade import CascadeRouter
from sluicegate.routing.intent.router import EmbedNow, FittedRouter
from sluicegate.routing.intent.slm import LabelDecoder, SlmRouter
from sluicegate.routing.probe_gate import ProbeGate
from sluicegate.services import Models, Router

__all__ = ["UNPROVED", "open_router"]

UNPROVED = 0.8
"""Threshold of label decoding, which has no examples to prove one on, unless the workflow sets it."""


def open_router(
    config: RouterConfig,
    *,
    intents: Mapping[str, str],
    out_of_scope: str | None,
    models: Models,
    embed_like: Callable[[str], EmbedNow],
    find: Callable[[str], Path],
    where: str,
    fit: str,
) -> Router:
    """The router of a workflow.

    `intents` are its labels with a description (may be empty), `out_of_scope` the one that stands for none of them,
    `embed_like` gives an embedding call that refuses (SG312) every embedder but the one with that fingerprint, `find`
    gives the place of a file named in the config, `where` the workflow's name, `fit` the command that fits it. Raises
    `ModelError` SG310 to SG313.
    """
    router: Router
    decoder = LabelDecoder(models, config.slm, intents)
    if config.strategy == "slm":
        named = json.dumps([sorted(intents.items()), models.describe(config.slm)])
        router = SlmRouter(
            decoder,
            list(intents),
            threshold=UNPROVED if config.threshold is None else config.threshold,
            out_of_scope=config.out_of_scope or out_of_scope,
            hash=hashlib.sha256(named.encode()).hexdigest(),
            admitted=ProbeGate(models, config.slm, "none of its labels is trusted"),
        )
    else:
        artifact = read_artifact(find(config.artifact or ""), fit=fit)
        check_fits(artifact.card, intents=set(intents), where=where)
        embedder = artifact.card["embedder"]
        embed = embed_like(embedder["fingerprint"]) if embedder else None
        router = head = FittedRouter(
            artifact, embed=embed, threshold=config.threshold, per=config.target.per, languages=config.languages
        )
        if config.strategy == "cascade":
            router = CascadeRouter(
                head,
                decoder,
                share=config.cascade.share,
                shortlist=config.cascade.shortlist,
                admitted=ProbeGate(models, config.slm, "the head decides alone"),
            )
    if config.escalation is None:
        return router
    escalation = load_escalation(
        find(config.escalation),
        embed_like=lambda embedder: embed_like(embedder["fingerprint"]),
        target=config.escalation_target,
        fit=f"{fit} --task escalate",
    )
    return EscalatingRouter(router, escalation)
