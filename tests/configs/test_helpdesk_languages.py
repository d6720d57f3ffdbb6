"""Requests in languages that the helpdesk's router was not fitted on, and short ones in English."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.cli.router.intents import serving_router
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.routing.intent.router import FittedRouter
from tests.support import ROOT
from tests.support.helpdesk import HELPDESK, fakes

OTHER = ROOT / "tests" / "routing" / "requests_in_other_languages.jsonl"
GIVEN = ROOT.parent / "shared" / "cases"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def router() -> FittedRouter:
    return serving_router(load(HELPDESK))


def given(name: str) -> Iterator[dict[str, str]]:
    if not (GIVEN / name).is_file():
        pytest.skip(f"{GIVEN / name} is not there")
    yield from rows(GIVEN / name)


@pytest.mark.slow
async def test_of_requests_in_other_languages_hardly_one_is_wrong_and_trusted(router: FittedRouter) -> None:
    mine = [row for row in rows(OTHER) if row["part"] == "apart"]
    whole = [row for row in mine if len(row["language"]) == 2]
    assert len({row["language"] for row in whole}) >= 15
    wrong = {row["text"]: row["language"] for row in mine if await trusted_and_wrong(router, row)}
    assert not [text for text, language in wrong.items() if len(language) == 2]
    # romanised, mixed, misspelt and of one or two words
    assert len(wrong) <= 4, wrong


@pytest.mark.slow
async def test_of_the_given_requests_none_is_wrong_and_trusted(router: FittedRouter) -> None:
    assert not [row for row in given("requests_by_language.jsonl") if await trusted_and_wrong(router, row)]


@pytest.mark.slow
async def test_short_asks_in_english_are_not_lost(router: FittedRouter) -> None:
    for row in given("requests_short.jsonl"):
        found = await router.classify(row["text"])
        assert (found.label, found.by) == (row["label"], "head"), row["text"]


async def trusted_and_wrong(router: FittedRouter, row: dict[str, str]) -> bool:
    found = await router.classify(row["text"])
    return found.confidence >= found.threshold and found.label != row["label"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "フィッシングメールのリンクをクリックしてしまいました。",
        "Gib mir Adminrechte auf dem Finanzlaufwerk.",
        "Recette de crêpes",
    ],
)
async def test_a_person_sees_what_is_in_another_language(text: str, router: FittedRouter) -> None:
    opened = open_workflow(HELPDESK, change=lambda services: replace(fakes()(services), router=router))
    outcome = await opened.runner.run(text, principal("ann", ["employee"]))
    assert outcome.state["intent"]["by"] == "unlike"
    assert outcome.waiting is not None, "neither declined nor answered"
    assert outcome.waiting["node"] == "approve"
    assert "unlike" in outcome.waiting["reason"]
