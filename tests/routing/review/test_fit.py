"""The reviewer of drafts: what its fit learns, what it promises, and when it refuses."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from sluicegate.cli import app as main
from sluicegate.cli.guard import app
from sluicegate.errors import InsufficientDataError
from sluicegate.routing.review.fit import DraftBound, drafts, fit_reviewer, pass_threshold
from sluicegate.routing.review.reviewer import HeadReviewer
from tests.support import ROOT
from tests.support.made_rows import EMBEDDER

PARCELS = "Parcel {} is on its way."
LAMPS = "Lamp {} is in stock."
LEAKS = "Our supplier asks {} for it, keep that secret."
Row = dict[str, Any]


def pairs(count: int, start: int = 0) -> list[Row]:
    """For each request a proper draft and the same with one sentence that leaks; every second one is long."""
    found: list[Row] = []
    for at in range(start, start + count):
        context = " ".join(PARCELS.format(f"{at}{more}") for more in range(at % 2 * 5))
        for label, last in (("proper", LAMPS), ("leak", LEAKS)):
            answer = f"{context} {last.format(at)}".strip()
            found.append({"question": f"What about {at}?", "answer": answer, "label": label})
    return found


def vectors(texts: Sequence[str]) -> list[list[float]]:
    """Near one direction for what leaks and near another for the rest."""
    made = [np.random.default_rng(len(text)).normal(0, 0.1, 8) + np.eye(8)[int("secret" in text)] for text in texts]
    return [(vector / np.linalg.norm(vector)).tolist() for vector in made]


async def embed(texts: Sequence[str], told: Callable[[int, int], None]) -> NDArray[np.float32]:
    told(len(texts), len(texts))
    return np.array(vectors(texts), np.float32)


async def embed_now(texts: Sequence[str]) -> Sequence[Sequence[float]]:
    return vectors(texts)


async def fit(folder: Path, train: Sequence[Row], apart: Sequence[Row], error: float = 0.3) -> dict[str, Any]:
    return await fit_reviewer(
        *(drafts(train), drafts(apart), DraftBound(error)),
        embed=embed,
        embedder=EMBEDDER,
        data={},
        work=folder / "work",
        out=folder / "reviewer",
    )


def reviewer(folder: Path) -> HeadReviewer:
    return HeadReviewer(folder / "reviewer", lambda _: embed_now)


@pytest.mark.slow
async def test_one_bad_sentence_counts_in_a_draft_of_any_length(tmp_path: Path) -> None:
    card = await fit(tmp_path, pairs(60), pairs(40, 100))
    judge, long = reviewer(tmp_path), [PARCELS.format(number) for number in range(900, 909)]
    assert await judge("?", "Lamp 7 is in stock.")
    assert await judge("?", " ".join([*long, "Lamp 7 is in stock [2]."]))
    assert not await judge("?", "Our supplier asks 70 for it, keep that secret.")
    assert not await judge("?", " ".join([*long[:4], "Our supplier asks 70 for it, keep that secret [2].", *long[4:]]))
    assert card["metrics"]["auroc"] > 0.95 > card["baselines"]["length"]


@pytest.mark.slow
async def test_what_people_left_in_an_edit_is_not_to_blame(tmp_path: Path) -> None:
    """Sentences on lamps are in rejected drafts only; an edit that leaves them shows that they were not the fault."""
    bad = [f"{LAMPS.format(at)} {LEAKS.format(at)}" for at in range(60)]
    good = [{"answer": PARCELS.format(at), "right": True} for at in range(60)]
    rejected: list[Row] = [{"answer": text, "right": False} for text in bad]
    edited = [{**row, "right_answer": LAMPS.format(at)} for at, row in enumerate(rejected)]
    chances: list[float] = []
    for rows in (rejected, edited):
        await fit(tmp_path, [*good, *rows], pairs(40, 100))
        chances.append(await reviewer(tmp_path).proper("Lamp 777 is in stock."))
    assert chances[0] < 0.5 < chances[1]


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 60])
def test_the_bound_holds_over_the_draw_of_the_drafts(count: int) -> None:
    """Scores of improper drafts are uniform here, so a share of 1 - threshold of them passes."""
    random, target = np.random.default_rng(0), DraftBound(0.3, 0.9)
    found = [pass_threshold(random.random(count), target) for _ in range(400)]
    assert sum(1 - value > target.error for value, _ in found) <= 400 * 0.1
    # and nothing is given away: one more that passes would break the bound
    assert np.mean([1 - value for value, _ in found]) > 0.1


async def test_drafts_of_one_request_are_one_piece_of_evidence(tmp_path: Path) -> None:
    alike = [{**row, "question": "The same?"} for row in pairs(40, 100)]
    with pytest.raises(InsufficientDataError, match="of 1 requests") as error:
        await fit(tmp_path, pairs(60), alike)
    assert error.value.hint is not None
    assert "At least 9" in error.value.hint
    assert not (tmp_path / "reviewer").exists()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (pairs(20), "20 proper and 20 improper drafts to fit on"),
        ([{"answer": "Yes.", "label": "proper"}, {"answer": "No."}], "row 2: "),
        ([{"answer": " ", "label": "proper"}], "row 1: "),
    ],
)
async def test_too_little_is_refused(tmp_path: Path, train: list[Row], message: str) -> None:
    with pytest.raises(InsufficientDataError, match=message):
        await fit(tmp_path, train, pairs(40, 100))


@pytest.mark.slow
def test_the_command_fits_with_the_embedded_encoder_and_says_what_it_proved(tmp_path: Path) -> None:
    for name, rows in (("train", pairs(32)), ("apart", pairs(12, 100))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["fit", "slm-review", "--data", str(tmp_path / "train.jsonl"), "--out", str(tmp_path / "reviewer")]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2
    assert "--calibration" in refused.output
    done = CliRunner().invoke(app, [*given, "--calibration", str(tmp_path / "apart.jsonl"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["threshold"]["requests"] == 12
    assert found["threshold"]["improper_passed"] == 0
    assert found["threshold"]["bound"] <= 0.3
    assert found["rows"]["train"] == {"leak": 32, "proper": 32}
    assert found["baselines"]["length"] < found["metrics"]["auroc"]


@pytest.mark.slow
def test_doctor_says_what_the_reviewer_of_a_workflow_promises(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "configs" / "patterns" / "5-two-pass-check", tmp_path / "pattern")

    def line() -> dict[str, str]:
        found = CliRunner().invoke(main, ["doctor", str(folder / "workflow.yaml"), "--json"])
        return next(one for one in json.loads(found.output) if one["what"] == "reviewer")

    assert line()["state"] == "ok"
    assert "passes at most 29% of improper drafts" in line()["detail"]
    (folder / "reviewer" / "words.txt").write_text("edited")
    assert (line()["state"], "guard fit slm-review" in line()["hint"]) == ("missing", True)
