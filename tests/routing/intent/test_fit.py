"""From rows to an artifact, and what is refused on the way."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sluicegate.errors import ModelError, RunError
from sluicegate.learning.artifact import check_place, read_card
from sluicegate.routing.data import Labelled
from sluicegate.routing.intent.artifact import Artifact, check_fits, read_artifact, write_artifact
from sluicegate.routing.intent.fit import FitSettings, check_rows, fit_intents, hold_apart
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.monitoring.report import report_intents
from tests.support.made_rows import EMBEDDER, embed_secret_now, fitted_at, rows, secret_rows


@pytest.mark.slow
async def test_a_lexical_head_learns(lexical: Artifact) -> None:
    found = await report_intents(FittedRouter(lexical), rows(200, 2))
    assert found["accuracy"] > 0.97
    assert found["macro_f1"] > 0.97
    assert found["ece"] < 0.08
    assert found["coverage"] > 0.9
    assert found["accepted_accuracy"] > 0.95
    assert found["oos_recall"] > 0.9
    assert found["oos_auroc"] > 0.98
    assert found["latency_ms_p50"] <= found["latency_ms_p95"]


@pytest.mark.slow
async def test_a_joined_head_uses_the_embedding(joined: Artifact) -> None:
    found = await report_intents(FittedRouter(joined, embed=embed_secret_now), secret_rows(200, 3))
    assert found["accuracy"] > 0.97
    assert joined.card["embedder"] == EMBEDDER
    assert found["oos_recall"] is None


@pytest.mark.slow
async def test_embeddings_that_add_nothing_are_left_out(tmp_path: Path) -> None:
    async def noise(texts: Sequence[str], _told: object) -> NDArray[np.float32]:
        drawn = np.random.default_rng(0).standard_normal((len(texts), 16))
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    fitted = await fit_intents(
        rows(240, 0), rows(200, 1), FitSettings(), embed=noise, embedder=EMBEDDER, work=tmp_path / "work"
    )
    assert fitted.head.dimensions == 0
    assert fitted.card["embedder"] is None


@pytest.mark.slow
async def test_the_same_data_give_the_same_artifact(tmp_path: Path) -> None:
    one = await fitted_at(tmp_path / "one", embeddings=True)
    other = await fitted_at(tmp_path / "other", embeddings=True)
    assert one.hash == other.hash
    assert (tmp_path / "one" / "weights.npz").read_bytes() == (tmp_path / "other" / "weights.npz").read_bytes()


@pytest.mark.slow
async def test_an_interrupted_fit_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.routing.intent import training

    fits: list[str] = []
    whole = training._fit_member

    def counted(views: object, target: object, classes: int, member: training.Member) -> object:
        fits.append(member.name)
        if len(fits) == 4:
            raise KeyboardInterrupt
        return whole(views, target, classes, member)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_fit_member", counted)
    with pytest.raises(KeyboardInterrupt):
        await fitted_at(tmp_path / "one", embeddings=True)
    stopped = len(fits)
    await fitted_at(tmp_path / "one", embeddings=True)
    resumed = len(fits) - stopped
    again = len(fits)
    await fitted_at(tmp_path / "one", embeddings=True)
    assert resumed == 9  # twelve pieces of three members, three of them done before
    assert len(fits) == again


@pytest.mark.slow
@pytest.mark.parametrize("change", ["weights.npz", "words.txt", "card.json"])
async def test_an_edited_artifact_is_refused(lexical: Artifact, tmp_path: Path, change: str) -> None:
    path = tmp_path / "lexical" / change
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.1", b"0.2", 1) if change == "card.json" else content[:-1] + b"~")
    with pytest.raises(ModelError) as caught:
        read_artifact(tmp_path / "lexical")
    assert caught.value.code == "SG311"
    assert change in str(caught.value)


@pytest.mark.slow
async def test_what_is_no_artifact_of_ours(lexical: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SG310"):
        read_artifact(tmp_path / "nowhere")
    (tmp_path / "lexical" / "model.pickle").write_bytes(b"")
    with pytest.raises(ModelError, match=r"SG311.*does not belong"):
        read_artifact(tmp_path / "lexical")
    (tmp_path / "lexical" / "model.pickle").unlink()
    with pytest.raises(ModelError, match="SG312"):
        read_card(tmp_path / "lexical", task="escalate")
    (tmp_path / "lexical" / "card.json").write_text("[]")
    with pytest.raises(ModelError, match="SG311"):
        read_artifact(tmp_path / "lexical")


@pytest.mark.slow
async def test_a_fit_replaces_nothing_but_an_artifact(lexical: Artifact, tmp_path: Path) -> None:
    check_place(tmp_path / "lexical")
    check_place(tmp_path / "new")
    (tmp_path / "papers").mkdir()
    check_place(tmp_path / "papers")
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match=r"SG311.*papers holds something other than a router artifact"):
        write_artifact(tmp_path / "papers", lexical.head, lexical.calibrator, lexical.card)
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(RunError, match=r"SG607 cannot write .*router: "):
        check_place(tmp_path / "papers" / "thesis.txt" / "deep" / "router")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lexical", "papers", "work"]


@pytest.mark.slow
async def test_labels_the_workflow_does_not_have(lexical: Artifact) -> None:
    check_fits(lexical.card, intents={"password", "printer", "network", "oos", "more"}, where="desk")
    with pytest.raises(ModelError, match="SG312 the router artifact predicts oos, printer, which desk does not have"):
        check_fits(lexical.card, intents={"password", "network"}, where="desk")


@pytest.mark.slow
async def test_another_embedder_is_refused(joined: Artifact) -> None:
    with pytest.raises(ModelError, match="SG312"):
        FittedRouter(joined)

    async def larger(texts: object) -> list[list[float]]:
        return [[1.0] * 32]

    with pytest.raises(ModelError, match="SG312 the embedder returns 32 dimensions; the router was fitted with 16"):
        await FittedRouter(joined, embed=larger).classify("hello")


@pytest.mark.slow
async def test_rows_with_labels_the_router_does_not_know(lexical: Artifact) -> None:
    with pytest.raises(ModelError, match=r"SG312.*lunch"):
        await report_intents(FittedRouter(lexical), Labelled(["soup"], ["lunch"], {}))


def test_rows_nothing_can_be_fitted_on() -> None:
    def said(labels: list[str], oos_label: str | None = None) -> str:
        with pytest.raises(ModelError) as caught:
            check_rows(Labelled([str(i) for i in range(len(labels))], labels, {}), oos_label=oos_label)
        assert caught.value.code == "SG313"
        return caught.value.message

    assert said(["x"] * 5) == "only one class (x); at least two are needed"
    assert said(["x", "x", "oos", "oos"], "oos") == "only one class (x); at least two are needed"
    assert said(["x", "x", "y"]).startswith("y: one example each")
    assert said(["x", "x", "y", "y"], "oos") == "no row has the out-of-scope label 'oos'"
    assert said([str(i) for i in range(100_000)]).startswith("100,000 labels in 100,000 rows")


@pytest.mark.slow
async def test_a_target_the_data_cannot_support(tmp_path: Path) -> None:
    settings = FitSettings(error=0.001, confidence=0.99)
    with pytest.raises(ModelError) as caught:
        await fitted_at(tmp_path / "one", embeddings=False, settings=settings)
    assert caught.value.code == "SG313"
    assert "wrong at most 0.1% of the time, with 99% confidence" in caught.value.message
    hint = str(caught.value.hint)
    assert "more calibration rows are needed" in hint
    assert "per intent" in hint
    assert all(way in hint for way in ("--without-threshold", "strategy: slm", "router.target.error"))
    loose = FitSettings(error=0.001, confidence=0.99, need_threshold=False)
    artifact = await fitted_at(tmp_path / "two", embeddings=False, settings=loose)
    found = await FittedRouter(artifact).classify("printer is jammed")
    assert found.confidence < found.threshold


def test_held_apart_rows_are_spread_over_classes() -> None:
    data = Labelled([str(i) for i in range(1000)], ["big"] * 900 + ["small"] * 98 + ["tiny"] * 2, {})
    train, apart = hold_apart(data, error=0.1, confidence=0.95)
    assert not set(train.texts) & set(apart.texts)
    assert len(train) + len(apart) == 1000
    assert 90 <= len(apart) <= 110
    assert set(train.labels) == {"big", "small", "tiny"}
    assert hold_apart(data, error=0.1, confidence=0.95) == (train, apart)


def test_a_looser_target_holds_no_fewer_rows_apart() -> None:
    data = Labelled([str(i) for i in range(200)], ["a", "b", "c", "d"] * 50, {})
    sizes = [len(hold_apart(data, error=error, confidence=0.95)[1]) for error in (0.02, 0.05, 0.1, 0.25, 0.35, 0.6)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2:] == [sizes[2]] * 4, "from 10 % on"


@pytest.mark.slow
async def test_an_empty_or_strange_text_is_still_decided(lexical: Artifact) -> None:
    router = FittedRouter(lexical)
    for text in ["", "   ", "🦆", "\x00", "x" * 100_000]:
        found = await router.classify(text)
        assert 0 <= found.confidence <= 1
        assert len(found.alternatives) == 4
