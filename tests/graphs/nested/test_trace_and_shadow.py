"""A run with another one within it: its tree in the terminal, and a challenger with a child in the shadow."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.cli.trace import app
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.services import Services
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.family import ANN, family, opened, without_people
from tests.support.shadowing import compared

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return without_people(family(tmp_path))


@pytest.mark.slow
def test_the_nodes_of_the_run_within_stand_beneath_the_node_that_runs_it(claims: Path) -> None:
    made = opened(claims)
    outcome = asyncio.run(made.runner.run("My roof leaks", ANN))
    made.close()
    shown = CliRunner().invoke(app, ["show", outcome.run, "--as", "ann"])
    assert shown.exit_code == 0, shown.output
    # the depth of each line by its branches
    lines = [line.lstrip("│├└─ ") for line in shown.output.splitlines()]
    depth = {name: shown.output.splitlines()[number].index(name) for number, line in enumerate(lines)
             for name in [line.split("  ")[0]] if name}  # fmt: skip
    assert depth["gate"] < depth["invoke_agent kyc"] == depth["kyc"] + 4
    assert depth["kyc/gate"] == depth["kyc/draft"] == depth["kyc/respond"] == depth["invoke_agent kyc"] + 4


@pytest.mark.slow
async def test_a_challenger_with_a_child_runs_it_in_the_shadow(
    claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = opened(claims)
    champion = await served.runner.run("My roof leaks", ANN)
    models = FakeModels(usd=0.002)

    def swapped(services: Services) -> Services:
        return replace(services, models=models, router=FakeRouter("identity"))

    pair, state = await compared(claims, champion, tmp_path / "shadow", swapped, monkeypatch)
    served.close()
    assert (pair.events, pair.withheld) == ((), ())
    assert [entry["node"] for entry in state["trail"]] == ["gate", "kyc", "respond"]
    assert state["run"]["shadow"]
    assert state["child"]["status"] == "answered"
    # its own call of the child's model, and the one run that somebody got
    assert pair.challenger["usd"] == pytest.approx(0.002)
    assert len(models.asked) == 1
    assert recorded(champion.state["child"]["run"])["run"]["shadow"] is False
