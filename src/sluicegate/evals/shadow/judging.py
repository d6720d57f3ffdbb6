"""Judges a shadow's pairs by its plan, and lets a challenger that has won serve."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sluicegate.errors import NotWaitingError, RunError
from sluicegate.evals.promotion import champions
from sluicegate.evals.promotion.champions import ServedVersion
from sluicegate.evals.promotion.gates import PromotionDecision, decide
from sluicegate.evals.shadow.pairs import PairStore, Registration
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.config.overlay import weakened
from sluicegate.graphs.runtime.versions import kept
from sluicegate.observe.tracing.store import Store

__all__ = ["Judged", "judge", "promote"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison and the decision on it at this moment."""

    at: Registration
    decision: PromotionDecision
    challenger: Path
    """The file that starts to serve on a promotion."""


def judge(champion: Workflow, at: Registration, pairs: PairStore, store: Store) -> Judged:
    """May be done at any time, as often as wanted: the error rates account for it. `champion` is the version that
    serves, or the file that the shadow was started with. Raises `ConfigError` when the challenger cannot be loaded."""
    problems: list[str] = []
    served = champions.history(champion.name)
    already = bool(served) and served[-1]["digest"] == at.challenger_digest
    if champion.digest != at.champion_digest and not already:
        problems.append(
            f"the champion is now {champion.digest[:12]}, but the pairs were made with {at.champion_digest[:12]}"
        )
    if served and served[-1]["digest"] not in (at.champion_digest, at.challenger_digest):
        problems.append(f"the serving version is {served[-1]['digest'][:12]}, neither champion nor challenger")
    challenger = load(at.challenger_here())
    if challenger.digest != at.challenger_digest:
        problems.append(
            f"the challenger is now {challenger.digest[:12]}, but the pairs were made with {at.challenger_digest[:12]}"
        )
    decision = decide(
        at.plan,
        pairs.pairs(at.number),
        shed=sum(pairs.shed(at.number).values()),
        problems=problems,
        weakened=[one.what for one in weakened(champion.config, challenger.config)],
    )
    decision = replace(decision, regressions=[_with_request(row, store) for row in decision.regressions])
    return Judged(at, decision, challenger.path)


def promote(judged: Judged, pairs: PairStore, *, by: str, note: str = "", serving: int | None = None) -> ServedVersion:
    """Let the challenger serve, on record with the evidence and, where there is one, the person's `note`; its shadow
    ends. Again changes nothing. Raises `RunError` SG605 when it has not won, and as `champions.promote` does."""
    at, decision = judged.at, judged.decision
    if decision.verdict != "PROMOTE":
        raise NotWaitingError(f"the challenger has not won: {decision.reason}", hint="Wait for more pairs")
    facts = {"plan": at.plan_digest, "pairs": decision.pairs, "days": decision.days, "reason": decision.reason}
    entry = champions.promote(
        at.workflow,
        path=judged.challenger,
        digest=at.challenger_digest,
        before=(kept(at.champion_digest), at.champion_digest),
        by=by,
        facts=facts | ({"note": note} if note else {}),
        serving=serving,
    )
    # decided already: the champion that the pairs were made with no longer serves
    pairs.end(at)
    return entry


def _with_request(regression: dict[str, Any], store: Store) -> dict[str, Any]:
    """With the request as the trace shows it: masked, and empty once deleted."""
    try:
        text = store.run(regression["champion_run"])["request"]
    except RunError:
        text = ""
    return {**regression, "request": text[:200]}
