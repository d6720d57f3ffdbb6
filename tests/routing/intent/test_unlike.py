"""A request unlike the calibration rows gets no label with confidence; what an embedder can read, it labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.learning.threshold import NEVER
from sluicegate.routing.data import Labelled
from sluicegate.routing.intent.artifact import Artifact
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.monitoring.report import report_intents
from tests.support.made_rows import embed_secret_now, fitted_at

pytestmark = pytest.mark.slow

GERMAN = "Mein Drucker druckt nicht mehr und ich weiß nicht, warum das so ist."


def reading(artifact: Artifact, *languages: str) -> Artifact:
    embedder: dict[str, Any] = {**artifact.card["embedder"], "languages": list(languages)}
    return replace(artifact, card={**artifact.card, "embedder": embedder})


async def test_another_language_has_no_confidence_and_is_not_called_out_of_scope(tmp_path: Path) -> None:
    artifact = await fitted_at(tmp_path / "lexical", embeddings=False)
    assert artifact.card["likeness"]["languages"] == ["en"]
    router = FittedRouter(artifact)
    found = await router.classify(GERMAN)
    assert (found.by, found.unlike, found.threshold) == ("unlike", "language", NEVER)
    assert not found.out_of_scope
    assert found.label != artifact.card["out_of_scope"]
    assert found.confidence == next(one["confidence"] for one in found.alternatives if one["label"] == found.label)
    like = await router.classify("please help printer is jammed 12")
    assert (like.by, like.unlike) == ("head", "")
    assert like.threshold == router.threshold


async def test_words_that_no_training_row_has_are_novel(tmp_path: Path) -> None:
    router = FittedRouter(await fitted_at(tmp_path / "lexical", embeddings=False))
    found = await router.classify("The mitochondria produce chemical energy inside eukaryotic organisms")
    assert (found.by, found.unlike, found.threshold) == ("unlike", "novelty", NEVER)


async def test_languages_of_the_embedder_are_labelled_but_trusted_only_where_the_workflow_says(tmp_path: Path) -> None:
    artifact = await fitted_at(tmp_path / "joined", embeddings=True)
    knows = reading(artifact, "de", "en")
    found = await FittedRouter(knows, embed=embed_secret_now).classify(GERMAN)
    assert (found.by, found.unlike, found.threshold) == ("unlike", "language", NEVER)
    assert found.label == found.alternatives[0]["label"], "whatever it is"
    trusting = FittedRouter(knows, embed=embed_secret_now, languages="embedder")
    found = await trusting.classify(GERMAN)
    assert (found.by, found.unlike, found.threshold) == ("head", "", trusting.threshold)
    deaf = FittedRouter(reading(artifact, "en"), embed=embed_secret_now, languages="embedder")
    assert (await deaf.classify(GERMAN)).unlike == "language", "it does not know German"


async def test_a_report_counts_them_beside_their_bound(lexical: Artifact) -> None:
    rows = Labelled([GERMAN, "please help printer is jammed 12"], ["printer", "printer"], {})
    found = await report_intents(FittedRouter(lexical), rows)
    assert (found["foreign"], found["novel"]) == (0.5, 0)
    assert 0 < found["novel_bound"] == lexical.card["likeness"]["bound"]
    assert found["coverage"] == 0.5
