"""Escalation: the curve by hand, and a fit that finds what is hard."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.errors import ModelError
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.config import EscalationTarget
from sluicegate.routing.data import Escalations
from sluicegate.routing.escalation.costquality import cost_quality
from sluicegate.routing.escalation.escalate import EscalatingRouter, load_escalation, threshold_for
from sluicegate.routing.escalation.fit import fit_escalation, write_escalation
from sluicegate.routing.escalation.report import report_escalation
from sluicegate.routing.intent.router import EmbedNow
from tests.support.fakes import FakeRouter
from tests.support.made_rows import made


def test_the_curve_by_hand() -> None:
    """Ten requests, the router finds the four that gain first: the gap is closed at 40 % of the calls."""
    weak = np.array([False] * 4 + [True] * 6)
    strong = np.ones(10, bool)
    found = cost_quality(np.arange(10, 0, -1, dtype=float), weak, strong)
    assert found.points[0] == (0.0, 0.6)
    assert found.points[-1] == (1.0, 1.0)
    assert found.apgr == pytest.approx(0.8)
    assert found.cpt50 == pytest.approx(0.2)
    assert found.cpt80 == pytest.approx(0.32)


def test_chance_recovers_half() -> None:
    random = np.random.default_rng(0)
    weak, strong = random.uniform(size=20_000) < 0.6, random.uniform(size=20_000) < 0.8
    found = cost_quality(random.uniform(size=20_000), weak, strong)
    assert found.apgr == pytest.approx(0.5, abs=0.03)
    assert found.cpt50 == pytest.approx(0.5, abs=0.06)


def test_no_gap_no_figure() -> None:
    same = np.array([True, False, True])
    assert cost_quality(np.array([1.0, 2.0, 3.0]), same, same).apgr is None
    assert cost_quality(np.ones(3), np.array([False] * 3), np.array([True] * 3)).apgr is None


def no_embedder(_embedder: dict[str, Any]) -> EmbedNow:
    raise AssertionError("this artifact needs no embedder")


@pytest.mark.slow
async def test_a_fit_finds_what_is_hard(tmp_path: Path) -> None:
    fitted = await fit_escalation(made(300, 0), embed=None, embedder=None)
    digest = write_escalation(tmp_path / "router", fitted)
    router = load_escalation(tmp_path / "router", embed_like=no_embedder)
    found = await report_escalation(router, made(300, 1))
    assert found["apgr"] > 0.7
    assert found["cpt50"] < 0.4
    assert found["artifact"] == digest
    hard, easy = [await router.decide(text) for text in ("prove the theorem number 7", "name the capital number 7")]
    assert hard.needs_large >= hard.threshold
    assert easy.needs_large < easy.threshold == hard.threshold
    (word, *_) = await router.evidence("prove the theorem number 7")
    assert word.weight > 0


@pytest.mark.slow
async def test_the_probability_is_calibrated_on_rows_that_the_fit_did_not_see(tmp_path: Path) -> None:
    """Four in five hard prompts need the large model, and one in five of the others, less where it fails too."""
    write_escalation(tmp_path / "router", await fit_escalation(made(600, 0), embed=None, embedder=None))
    router = load_escalation(tmp_path / "router", embed_like=no_embedder)
    assert (await report_escalation(router, made(600, 1)))["ece"] < 0.06
    assert await router.score("prove the theorem number 3") == pytest.approx(0.8 * 0.95, abs=0.1)
    assert await router.score("name the capital number 3") == pytest.approx(0.2 * 0.95, abs=0.1)


@pytest.mark.slow
async def test_another_target_needs_no_new_fit(tmp_path: Path) -> None:
    card = (await fit_escalation(made(400, 0), embed=None, embedder=None)).card
    by_quality = [threshold_for(card, EscalationTarget(recover=share)) for share in (0.5, 0.8, 0.95)]
    assert by_quality == sorted(by_quality, reverse=True)
    points = {point["threshold"]: point for point in card["points"]}
    assert all(points[value]["recovered"] >= share for value, share in zip(by_quality, (0.5, 0.8, 0.95), strict=True))
    for share in (0.1, 0.3, 0.6):
        value = threshold_for(card, EscalationTarget(share=share))
        stricter = [point["share"] for point in card["points"] if point["threshold"] < value]
        assert points[value]["share"] <= share < min(stricter), "the lowest that can be afforded"
    assert threshold_for(card | {"points": card["points"][-1:]}, EscalationTarget(share=0.1)) == NEVER


def test_a_target_is_a_quality_or_a_cost() -> None:
    for wrong in ({}, {"recover": 0.8, "share": 0.2}):
        with pytest.raises(ValueError, match="exactly one"):
            EscalationTarget(**wrong)


@pytest.mark.slow
async def test_a_router_with_an_escalation_says_both(tmp_path: Path) -> None:
    digest = write_escalation(tmp_path / "router", await fit_escalation(made(300, 0), embed=None, embedder=None))
    escalation = load_escalation(tmp_path / "router", embed_like=no_embedder, target=EscalationTarget(share=0.4))
    found = await EscalatingRouter(FakeRouter(confidence=0.9), escalation).classify("prove the theorem number 7")
    assert found.confidence == 0.9
    assert found.escalation
    assert found.escalation.artifact == digest
    assert found.escalation.needs_large >= found.escalation.threshold == escalation.threshold


@pytest.mark.slow
async def test_similarities_are_what_an_embedding_tells(tmp_path: Path) -> None:
    async def embed(texts: list[str], told: Callable[[int, int], None]) -> np.ndarray:
        told(1, 1)
        return np.array([[1.0, 0.0] if "prove" in text else [0.0, 1.0] for text in texts], np.float32)

    async def embed_now(texts: list[str]) -> np.ndarray:
        return await embed(texts, lambda _done, _all: None)

    fitted = await fit_escalation(made(200, 0), embed=embed, embedder={"model": "x", "fingerprint": "y"})
    write_escalation(tmp_path / "router", fitted)
    asked: list[dict[str, Any]] = []

    def embed_like(embedder: dict[str, Any]) -> EmbedNow:
        asked.append(embedder)
        return embed_now

    router = load_escalation(tmp_path / "router", embed_like=embed_like)
    assert asked == [{"model": "x", "fingerprint": "y"}]
    assert await router.score("prove it") > await router.score("capital")


@pytest.mark.slow
async def test_an_artifact_of_another_task_or_an_edited_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"SG310 .*--task escalate"):
        load_escalation(tmp_path / "absent", embed_like=no_embedder)
    fitted = await fit_escalation(made(200, 0), embed=None, embedder=None)
    older = {key: value for key, value in fitted.card.items() if key != "chance"}
    write_escalation(tmp_path / "older", replace(fitted, card=older))
    with pytest.raises(ModelError, match=r"SG311 .*no calibrated probability"):
        load_escalation(tmp_path / "older", embed_like=no_embedder)
    write_escalation(tmp_path / "answers", replace(fitted, card=fitted.card | {"task": "answer"}))
    with pytest.raises(ModelError, match="SG312"):
        load_escalation(tmp_path / "answers", embed_like=no_embedder)


@pytest.mark.slow
async def test_requests_that_say_nothing_are_refused() -> None:
    same = Escalations(["the same words"] * 200, [True, False] * 100, [True] * 200, {})
    with pytest.raises(ModelError, match="SG313 nothing in these requests"):
        await fit_escalation(same, embed=None, embedder=None)


async def test_what_cannot_be_learned() -> None:
    with pytest.raises(ModelError, match="SG313 in 0 of 100 rows exactly one model is right; 50 are needed"):
        await fit_escalation(Escalations(["p"] * 100, [True] * 100, [True] * 100, {}), embed=None, embedder=None)
    with pytest.raises(ModelError, match="SG313 the large model is right no more often"):
        await fit_escalation(Escalations(["p"] * 100, [True] * 100, [False] * 100, {}), embed=None, embedder=None)
