"""Runs the challenger on one finished request, and makes a pair of both.

The challenger is isolated (`variants.isolated`): dry tools, no answer cache, its own checkpoints, approvals and ledger.
It retrieves the champion's passages, whatever it searches for, less those that its own policies deny to the requester;
only where the champion never searched does it search itself. A challenger that fails or takes too long
makes a pair too: it counts as the worst that its metrics can be, or else a version that crashes on hard requests would
look good on the rest.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sluicegate.evals.evaluation.baselines import Metered, isolated, metered
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.evaluation.scoring import measure
from sluicegate.evals.promotion.gates import Pair
from sluicegate.evals.promotion.plan import LOWER_IS_BETTER, Plan
from sluicegate.evals.shadow.pairs import Registration, today
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.waiting.again import run_again
from sluicegate.policies.cache.cache import NoCache
from sluicegate.retrieval.replay_retriever import ReplayRetriever, passages
from sluicegate.run_summary import RunSummary
from sluicegate.state import State

__all__ = ["Challenge", "challenge_by", "compare", "sampled", "skip_reason"]

Challenge = Callable[[Outcome], Awaitable[tuple[Outcome, float]]]
"""Runs the challenger on what the champion has answered, within its `passages`: its outcome and price in dollars."""


def challenge_by(path: Path | str | Workflow, folder: Path) -> tuple[Opened, Challenge]:
    """A workflow as challenger, isolated in `folder`. Raises as `open_workflow` does."""
    opened = isolated(
        path,
        folder,
        lambda services: replace(
            services,
            models=Metered(services.models),
            retriever=ReplayRetriever(services.retriever),
            cache=NoCache(),
        ),
    )

    async def challenge(champion: Outcome) -> tuple[Outcome, float]:
        with metered() as meter:
            outcome = await run_again(opened.runner, champion.state)
        return outcome, meter.list_usd

    return opened, challenge


def sampled(plan: Plan, state: State) -> bool:
    """Whether a request is in the sample: decided by its id alone, within its stratum."""
    share = plan.sample.strata.get(_slice(state, plan.sample.by), plan.sample.share)
    drawn = hashlib.sha256(f"{plan.digest}:{state['request']['id']}".encode()).digest()
    return int.from_bytes(drawn[:8]) < share * 2**64


def skip_reason(outcome: Outcome, at: Registration) -> str:
    """Why a run is not comparable; empty when it is."""
    if outcome.state["run"]["shadow"]:
        return "a shadow itself"
    if outcome.status not in ("answered", "refused"):
        return "not at its end"
    if outcome.state["run"]["digest"] != at.champion_digest:
        return "another version of the champion"
    # the champion wrote this answer at another time; that run was the one to compare
    return "served from the cache" if outcome.path == "cache" else ""


async def compare(
    plan: Plan, champion: Outcome, challenge: Challenge, *, case: Case | None = None, list_usd: float | None = None
) -> tuple[Pair, float]:
    """The pair, and what the challenger cost in dollars. Never raises for the challenger."""
    ours = measure(champion, case, list_usd=list_usd)
    events: list[str] = []
    outcome: Outcome | None = None
    theirs: Mapping[str, float]
    with passages(champion.state.get("documents")) as serving:
        try:
            async with asyncio.timeout(plan.timeout_s):
                outcome, price = await challenge(champion)
            theirs = measure(outcome, case, list_usd=price)
            events += _events(outcome, champion, case)
        except TimeoutError:
            events.append("timed_out")
            theirs = _worst(ours)
        except Exception:
            events.append("failed")
            theirs = _worst(ours)
    state = champion.state
    pair = Pair(
        champion_run=champion.run,
        challenger_run=outcome.run if outcome else "",
        day=today(),
        champion=ours,
        challenger=theirs,
        events=tuple(events),
        champion_events=tuple(_events(champion, champion, case)),
        slices={name: _slice(state, name) for name in ("intent", "path", "language", "channel", "risk")},
        withheld=tuple(serving.withheld),
    )
    return pair, outcome.summary.usd if outcome else 0.0


def _worst(ours: Mapping[str, float]) -> dict[str, float]:
    """Infinitely expensive and slow; a plan's cap makes it finite."""
    return {name: math.inf if name in LOWER_IS_BETTER else 0.0 for name in ours}


def _events(outcome: Outcome, champion: Outcome, case: Case | None) -> list[str]:
    found: list[str] = []
    must_refuse = case.refused if case else None
    if must_refuse is None and champion.state.get("policy", {}).get("verdict") == "deny":
        must_refuse = True
    refused = outcome.status == "refused"
    if must_refuse is not None and refused != must_refuse:
        found.append("must_refuse_answered" if must_refuse else "must_answer_refused")
    checks = outcome.state.get("checks")
    if checks and checks["failed"]:
        found.append("output_blocked")
    return found


def _slice(state: State, name: str) -> str:
    if name in ("language", "channel"):
        return str(state["request"][name])
    return str(getattr(RunSummary.of(state), name) or "")
