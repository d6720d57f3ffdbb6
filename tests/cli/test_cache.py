"""`sluicegate cache`: counts, forgetting, and the measure of a semantic cache."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate.cli import cache
from sluicegate.errors import ConfigError
from sluicegate.observe.audit.proof import records
from sluicegate.policies.cache.cache import AnswerStore
from sluicegate.services import EmbeddingRequest, Embeddings
from tests.support.fakes import FakeModels


class Alike(FakeModels):
    """Embeds every text the same but those that say "far"."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        vectors = [[0.0, 1.0] if "far" in text else [1.0, 0.0] for text in request.texts]
        return Embeddings(vectors, "fake:embedder", "fake")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_models", lambda _model: Alike())


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cache.app, [*arguments])


def said(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


def test_what_is_kept_and_saved_is_shown_and_forgotten(own_home: Path) -> None:
    own_home.mkdir(parents=True)
    store = AnswerStore(own_home / "cache.sqlite")
    store.put("k", {"answer": "x"}, ttl_s=60, saved_usd=0.25)
    assert store.get("k")
    assert store.get("other") is None
    store.close()
    assert said("show")["saved_usd"] == 0.25
    assert "hits: 1 of 2 look-ups (50%)" in command("show").stdout
    assert command("clear").exit_code == 1
    assert said("show")["entries"] == 1
    assert said("clear", "--yes", "--by", "olga") == {"cleared": 1}
    assert said("show")["entries"] == 0
    [event] = [body for body, _, _ in records(own_home / "audit")]
    assert (event["event"], event["facts"]) == ("cache.cleared", {"answers": 1})


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("How do I pay?", "how can I pay", ""),
        ("How do I pay 5 euros?", "How do I pay 6 euros?", "other numbers or codes: 5, 6"),
        ("Is it open?", "Is it open far?", "other words: far"),
    ],
)
def test_two_questions_are_compared(one: str, other: str, why: str) -> None:
    found = said("compare", one, other)
    assert (found["same"], found["why"]) == (not why, why)
    assert command("compare", one, other).stdout.startswith(f"kept apart: {why}" if why else "the same")


def test_precision_and_recall_are_measured(tmp_path: Path) -> None:
    rows = [
        {"one": "How do I pay?", "other": "How can I pay?", "same": True, "kind": "filler", "part": "held"},
        {"one": "How do I pay?", "other": "How do I settle a bill?", "same": True, "kind": "reworded", "part": "held"},
        {"one": "Is 5 due?", "other": "Is 6 due?", "same": False, "kind": "number", "part": "held"},
        {"one": "Am I late?", "other": "I am late", "same": True, "kind": "order", "part": "build"},
        # labelled wrongly, to see a false hit
        {"one": "Can I park?", "other": "May I park?", "same": False, "kind": "question", "part": "held"},
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = said("eval", "--data", str(data), "--part", "held")
    assert (found["pairs"], found["hits"]) == (4, 2)
    assert (found["precision"]["value"], found["recall"]["value"]) == (0.5, 0.5)
    assert found["similarity_alone"]["precision"]["value"] == 0.5
    assert found["false_hits"] == [["Can I park?", "May I park?"]]
    assert "false hit: Can I park? | May I park?" in command("eval", "--data", str(data)).stdout


@pytest.mark.parametrize(
    ("content", "code"),
    [('{"one": "a"}', "SG140"), ('{"one": "a", "other": "b", "same": 1}', "SG140"), ("", "SG140"), (None, "SG101")],
)
def test_a_bad_file_of_pairs_is_named(tmp_path: Path, content: str | None, code: str) -> None:
    data = tmp_path / "pairs.jsonl"
    if content is not None:
        data.write_text(content, encoding="utf-8")
    result = command("eval", "--data", str(data))
    assert isinstance(result.exception, ConfigError)
    assert result.exception.code == code
