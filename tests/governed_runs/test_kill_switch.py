"""The kill switch through whole runs: what is switched off elsewhere stops the next call of a process that runs."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.nodes.model_governance import no_spend
from sluicegate.policies.cedar.engine import load_engine
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Cached, ModelRequest
from tests.support.fakes import FakeCache, FakeGuards, FakeModels, services
from tests.support.flows import ANN, runner, way

pytestmark = pytest.mark.slow

SWITCH = """
import sys
from pathlib import Path
from sluicegate.policies.kill_switch import KillSwitch
KillSwitch(Path(sys.argv[1])).off(sys.argv[2], reason="leaks", by="lea")
"""


class NoCache(FakeCache):
    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        return None


def running(home: Path, models: FakeModels, guards: FakeGuards | None = None) -> Runner:
    """A process's own services, as `open_workflow` puts them together: one switch for the policies and the ledger."""
    home.mkdir(parents=True, exist_ok=True)
    switch = KillSwitch(home / "switches.json")
    given = services(
        models=models,
        policy=load_engine(switch=switch),
        ledger=SqliteLedger(BudgetConfig(per_day_usd=1.0), home / "ledger.sqlite", switch=switch),
        cache=NoCache(),
        guards=guards or FakeGuards(),
    )
    return runner(home, given)


def elsewhere(home: Path, name: str) -> None:
    """Switch something off in another process."""
    subprocess.run([sys.executable, "-c", SWITCH, str(home / "switches.json"), name], check=True)


def stopped_by(outcome: Outcome) -> str:
    return outcome.state.get("spend", no_spend())["stopped_by"]


def roles(models: FakeModels) -> list[str]:
    return [role for role, _ in models.asked]


async def test_the_next_call_of_a_model_switched_off_elsewhere_is_not_made(own_home: Path) -> None:
    """The large model, which is not off, takes over as the flow says; with it off too nothing answers."""
    models = FakeModels()
    process = running(own_home, models)
    await process.run("How do I reset it?", ANN)
    assert roles(models) == ["slm"]
    await asyncio.to_thread(elsewhere, own_home, "model:fake:slm")
    assert (await process.run("How do I reset it?", ANN)).text == "Large answer [1]."
    assert roles(models) == ["slm", "llm"]
    await asyncio.to_thread(elsewhere, own_home, "model:fake:llm")
    stopped = await process.run("How do I reset it?", ANN)
    assert stopped_by(stopped) == "SG502 model:fake:llm is switched off: leaks"
    assert (stopped.text, len(models.asked)) == ("", 2)
    KillSwitch(own_home / "switches.json").on("model:fake:slm")
    assert (await process.run("How do I reset it?", ANN)).text == "Small answer [1]."


@pytest.mark.parametrize("name", ["workflow:test", "intent:question"])
async def test_a_workflow_or_an_intent_switched_off_is_denied_at_its_gate(name: str, own_home: Path) -> None:
    models = FakeModels()
    process = running(own_home, models)
    await process.run("How do I reset it?", ANN)
    calls = len(models.asked)
    await asyncio.to_thread(elsewhere, own_home, name)
    denied = await process.run("How do I reset it?", ANN)
    assert way(denied.state) == ["classify", "gate", "refuse"]
    assert denied.state.get("policy", {}).get("rules") == [f"switch:{name}"]
    assert len(models.asked) == calls


async def test_a_run_between_two_calls_stops_before_the_second(own_home: Path) -> None:
    """The switch falls while the first call of a run is under way: the call ends, the run's next is not made."""

    class Switched(FakeModels):
        async def chat(self, request: ModelRequest) -> Any:
            completion = await super().chat(request)
            await asyncio.to_thread(elsewhere, own_home, "model:*")
            return completion

    models = Switched()
    process = running(own_home, models, FakeGuards({"grounded": "regenerate"}))
    outcome = await process.run("How do I reset it?", ANN)
    assert roles(models) == ["slm"]
    assert stopped_by(outcome) == "SG502 model:* is switched off: leaks"
    assert outcome.text == ""
