"""A challenger with branches side by side, in the shadow of a champion without."""

from pathlib import Path

import pytest

from tests.support.forked import PATH, forked
from tests.support.helpdesk import fakes, production
from tests.support.shadowing import compared


@pytest.mark.slow
async def test_its_branches_get_the_champions_passages_and_its_calls_are_metered(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, served = await production()
    pair, state = await compared(forked(tmp_path), champion, tmp_path / "shadow", fakes(), monkeypatch)
    served.close()
    assert [entry["node"] for entry in state["trail"]] == PATH
    assert [one["id"] for one in state["documents"]] == [one["id"] for one in champion.state.get("documents", ())]
    assert (pair.events, pair.withheld) == ((), ())
    assert "list_usd" in pair.challenger
