"""A challenger with branches side by side, in the shadow of a champion without."""

from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.shadow import pairing
from tests.support.forked import PATH, forked
from tests.support.helpdesk import fakes, production
from tests.support.shadowing import plan


async def test_its_branches_get_the_champions_passages_and_its_calls_are_metered(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolated = pairing.isolated
    monkeypatch.setattr(
        pairing,
        "isolated",
        lambda path, folder, change: isolated(path, folder, lambda services: change(fakes()(services))),
    )
    champion, served = await production()
    shadow, challenge = pairing.challenge_by(forked(tmp_path), tmp_path / "shadow")
    ways: list[Any] = []

    async def seen(outcome: Any) -> Any:
        answered, usd = await challenge(outcome)
        ways.append(answered.state)
        return answered, usd

    pair, _ = await pairing.compare(plan(), champion, seen)
    served.close()
    shadow.close()
    (state,) = ways
    assert [entry["node"] for entry in state["trail"]] == PATH
    assert [one["id"] for one in state["documents"]] == [one["id"] for one in champion.state.get("documents", ())]
    assert (pair.events, pair.withheld) == ((), ())
    assert "list_usd" in pair.challenger
