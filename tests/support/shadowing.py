"""Versions, plans and answers of a shadow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.promotion.plan import Plan
from sluicegate.evals.shadow import pairing
from sluicegate.evals.shadow.pairs import Pair, PairStore, Registration
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.services import Services
from tests.support.fakes import services
from tests.support.flows import ANN, runner

PLAN: dict[str, Any] = {
    "plan": "next",
    "goal": {"metric": "without_llm"},
    "guardrails": [{"metric": "checks_passed", "margin": 0.05}],
    "limits": [{"event": "failed", "rate": 0.03}],
    "pairs": {"minimum": 200, "maximum": 2000},
}


def plan(**changed: Any) -> Plan:
    return Plan.model_validate({**PLAN, "timeout_s": 5.0, **changed})


def registered(pairs: PairStore, **changed: Any) -> Registration:
    return pairs.start("test", plan(**changed), champion=("a.yaml", "digest-1"), challenger=("b.yaml", "digest-2"))


async def answered(home: Path, number: int = 0, **replaced: Any) -> Outcome:
    return await runner(home, services(**replaced)).run(f"How do I reset it, {number}?", ANN)


def like(outcome: Outcome, number: int) -> Outcome:
    """The same outcome as that of another request."""
    state: Any = {**outcome.state, "request": {**outcome.state["request"], "id": f"request-{number}"}}
    return Outcome(f"run-{number}", state, outcome.ms)


async def compared(
    challenger: Path,
    champion: Outcome,
    folder: Path,
    swapped: Callable[[Services], Services],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Pair, Any]:
    """The pair of a champion's run and a challenger on stand-in services, and the state that the challenger came to."""
    isolated = pairing.isolated
    monkeypatch.setattr(
        pairing,
        "isolated",
        lambda path, folder, change: isolated(path, folder, lambda services: change(swapped(services))),
    )
    shadow, challenge = pairing.challenge_by(challenger, folder)
    states: list[Any] = []

    async def seen(outcome: Outcome) -> tuple[Outcome, float]:
        answered, usd = await challenge(outcome)
        states.append(answered.state)
        return answered, usd

    pair, _ = await pairing.compare(plan(), champion, seen)
    shadow.close()
    (state,) = states
    return pair, state
