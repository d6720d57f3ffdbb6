"""Escalation: the curve by hand, and a fit that finds what is hard."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sluicegate.errors import ModelError
from sluicegate.routing.data import Escalations
from sluicegate.routing.escalation.costquality import cost_quality
from sluicegate.routing.escalation.escalate import fit_escalation, load_escalation, report_escalation, write_escalation
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


async def test_a_fit_finds_what_is_hard(tmp_path: Path) -> None:
    fitted = await fit_escalation(made(300, 0), embed=None, embedder=None)
    digest = write_escalation(tmp_path / "router", fitted)
    router = load_escalation(tmp_path / "router", embed=None)
    found = await report_escalation(router, made(300, 1))
    assert found["apgr"] > 0.7
    assert found["cpt50"] < 0.4
    assert found["artifact"] == digest
    assert await router.needs_large("prove the theorem number 7 please")
    assert not await router.needs_large("name the capital number 7 please")


@pytest.mark.slow
async def test_an_embedding_joins(tmp_path: Path) -> None:
    async def embed(texts: list[str], told: Callable[[int, int], None]) -> np.ndarray:
        told(1, 1)
        return np.array([[1.0, 0.0] if "prove" in text else [0.0, 1.0] for text in texts], np.float32)

    async def embed_now(texts: list[str]) -> np.ndarray:
        return await embed(texts, lambda _done, _all: None)

    fitted = await fit_escalation(made(200, 0), embed=embed, embedder={"model": "x", "fingerprint": "y"})
    write_escalation(tmp_path / "router", fitted)
    with pytest.raises(ModelError, match="SG312"):
        load_escalation(tmp_path / "router", embed=None)
    router = load_escalation(tmp_path / "router", embed=embed_now)
    assert await router.score("prove it") > await router.score("capital")


async def test_what_cannot_be_learned() -> None:
    with pytest.raises(ModelError, match="SG313 in 0 of 100 rows exactly one model is right; 50 are needed"):
        await fit_escalation(Escalations(["p"] * 100, [True] * 100, [True] * 100, {}), embed=None, embedder=None)
    with pytest.raises(ModelError, match="SG313 the large model is right no more often"):
        await fit_escalation(Escalations(["p"] * 100, [True] * 100, [False] * 100, {}), embed=None, embedder=None)
