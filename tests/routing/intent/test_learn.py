"""Drift, corrections, comparison, explanations, other targets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.errors import ModelError
from sluicegate.routing.data import Labelled
from sluicegate.routing.intent.artifact import Artifact
from sluicegate.routing.intent.explain import explain_text, targets
from sluicegate.routing.intent.fit import FitSettings
from sluicegate.routing.intent.learn import compare, corrections_of, unseen, with_corrections, would_change
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.monitoring.drift import by_day, drift, psi, window_of
from sluicegate.routing.monitoring.plots import cost_quality_svg, drift_svg, page, reliability_svg
from tests.support.made_rows import embed_secret, embed_secret_now, fitted_at, rows, secret_rows

DAY = 86_400 * 10**9


def runs(
    count: int, seed: int, *, mean: float = 0.85, outside: float = 0.05, tilt: float = 0.5
) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = "oos" if random.uniform() < outside else "a" if random.uniform() < tilt else "b"
        sure = float(np.clip(random.normal(mean, 0.08), 0, 1))
        found.append({"intent": label, "confidence": sure, "started_ns": number * DAY // 20, "threshold": 0.7})
    return found


def test_no_drift_no_warning() -> None:
    before, after = (window_of(runs(800, seed), out_of_scope="oos") for seed in (0, 1))
    found = drift(before, after)
    assert found.warnings == []
    assert found.psi < 0.1


@pytest.mark.parametrize(
    ("changed", "warning"),
    [({"mean": 0.7}, "confidence moved"), ({"tilt": 0.9}, "label mix"), ({"outside": 0.2}, "out of scope went from")],
)
def test_each_kind_of_drift_is_named(changed: dict[str, float], warning: str) -> None:
    before = window_of(runs(800, 0), out_of_scope="oos")
    found = drift(before, window_of(runs(800, 1, **changed), out_of_scope="oos"))
    assert any(warning in said for said in found.warnings)


def test_too_few_runs_to_speak_of_drift() -> None:
    some = window_of(runs(100, 0), out_of_scope=None)
    with pytest.raises(
        ModelError, match="SG313 10 classified runs in the later window; a drift test needs at least 50"
    ):
        drift(some, window_of(runs(10, 1), out_of_scope=None))


def test_psi_by_hand() -> None:
    # half of the rows move from the lower to the upper half: (.25 - .5) ln(.25 / .5) + (.75 - .5) ln(.75 / .5)
    before = np.array([0.0] * 50 + [1.0] * 50)
    after = np.array([0.0] * 25 + [1.0] * 75)
    assert psi(before, after, bins=2) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5))


def test_corrections_take_the_latest_word() -> None:
    said = corrections_of(
        [
            {"text": "My wifi", "label": "printer"},
            {"text": "my  WIFI", "label": '"network"'},
            {"text": None, "label": "network"},
            {"text": "x", "label": "lunch"},
        ],
        labels={"network", "printer"},
    )
    assert (said.texts, said.labels) == (["my  WIFI"], ["network"])
    assert dict(said.unusable) == {"the request's text was not recorded": 1, "'lunch' is not a label of this router": 1}
    joined = with_corrections(Labelled(["my wifi", "other"], ["printer", "printer"], {}), said)
    assert dict(zip(joined.texts, joined.labels, strict=True)) == {"other": "printer", "my  WIFI": "network"}


@pytest.mark.slow
async def test_compare_shows_what_would_change(lexical: Artifact, tmp_path: Path) -> None:
    worse = await fitted_at(tmp_path / "worse", embeddings=False, settings=FitSettings(oos_label="oos", oos_recall=1.0))
    found = await compare(FittedRouter(lexical), FittedRouter(worse), rows(60, 5))
    assert found["rows"] == 60
    assert found["changed"] == len(found["examples"]) >= found["mended"] + found["broken"]
    assert found["old"]["accuracy"] - found["new"]["accuracy"] == pytest.approx(
        (found["broken"] - found["mended"]) / 60
    )
    same = await compare(FittedRouter(lexical), FittedRouter(lexical), rows(20, 6))
    assert (same["changed"], same["p_value"]) == (0, 1.0)


@pytest.mark.slow
async def test_requests_that_would_take_another_branch_are_named(lexical: Artifact) -> None:
    old, strict = FittedRouter(lexical, threshold=0.0), FittedRouter(lexical, threshold=1.1)
    found = await would_change(old, strict, ["printer is jammed", "reset my password"])
    assert (found["requests"], found["other_label"], found["other_trust"]) == (2, 0, 2)
    assert found["examples"][0] == {
        "text": "printer is jammed",
        "before": "printer",
        "after": "printer (below threshold)",
    }
    assert (await would_change(old, old, ["printer is jammed"]))["examples"] == []


def test_what_was_learned_is_no_test() -> None:
    learned = corrections_of([{"text": "My  Wifi", "label": "network"}], labels={"network"})
    left = unseen(Labelled(["my wifi", "the printer"], ["network", "printer"], {}), learned)
    assert (left.texts, left.labels) == (["the printer"], ["printer"])


@pytest.mark.slow
async def test_explain_names_the_words_that_spoke(lexical: Artifact) -> None:
    found = await explain_text(FittedRouter(lexical), "the printer is jammed", rows(60, 7), embed=None)
    assert found["label"] == "printer"
    assert any("print" in item["feature"] or "jam" in item["feature"] for item in found["evidence"][:3])
    assert found["evidence"][0]["weight"] > 0
    assert found["nearest"][0]["label"] == "printer"
    assert found["alternatives"][0]["label"] == "printer"


@pytest.mark.slow
async def test_explain_finds_neighbours_by_meaning(joined: Artifact) -> None:
    router = FittedRouter(joined, embed=embed_secret_now)
    examples = secret_rows(50, 8)
    found = await explain_text(router, examples.texts[0], examples, embed=embed_secret)
    assert found["nearest"][0]["text"] == examples.texts[0]
    assert found["nearest"][1]["label"] == examples.labels[0]
    assert any(item["view"] == "embedding" for item in found["evidence"])


@pytest.mark.slow
async def test_targets_trade_coverage_for_error(lexical: Artifact) -> None:
    found = await targets(FittedRouter(lexical), rows(400, 9), [0.2, 0.1, 0.001], 0.95)
    coverage = [row["coverage"] for row in found["overall"]]
    assert coverage[0] >= coverage[1] >= coverage[2]
    assert found["overall"][2]["threshold"] is None
    by_label = {row["label"]: row for row in found["per_intent"]}
    assert by_label.keys() == {"password", "printer", "network", "oos"}
    assert by_label["printer"]["threshold"] is not None
    # four intents share the doubt
    assert found["level"] == pytest.approx(1 - 0.05 / 4)
    few = await targets(FittedRouter(lexical), rows(40, 9), [0.05], 0.95)
    assert all(row["needed"] > 90 and not row["own"] for row in few["per_intent"])


@pytest.mark.slow
def test_plots_and_page() -> None:
    bins = [
        {"low": 0.0, "high": 0.5, "count": 3, "accuracy": 0.0, "confidence": 0.4},
        {"low": 0.5, "high": 1.0, "count": 7, "accuracy": 1.0, "confidence": 0.9},
    ]
    first = reliability_svg(bins, threshold=0.7, title="<Reliability>")
    assert first.startswith("<svg")
    assert first == reliability_svg(bins, threshold=0.7, title="<Reliability>")
    assert "threshold" in first
    assert "threshold" not in reliability_svg(bins, threshold=2.0, title="None proved")
    reached = {0.5: 0.24}
    curve = cost_quality_svg([[0, 0.6], [1, 0.8]], weak=0.6, strong=0.8, reached=reached, title="Cost")
    assert "50% of the gap with 24% of the calls" in curve
    days = by_day(runs(60, 0), out_of_scope="oos")
    assert [day["rows"] for day in days] == [20, 20, 20]
    plotted = drift_svg(days, threshold=0.7, boundary=days[-1]["day"], title="desk")
    made = page("<desk>", {"accuracy": 0.5}, {"Per class": [{"label": "<a>", "f1": 0.25}]}, [first, curve, plotted])
    assert "&lt;desk&gt;" in made
    assert "&lt;a&gt;" in made
    assert made.count("<svg") == 3
