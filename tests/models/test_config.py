from pathlib import Path

import pytest
from pydantic import ValidationError

from sluicegate.models.config import ModelConfig, resolve, unresolved


def config(use: str, *otherwise: str, **more: object) -> ModelConfig:
    return ModelConfig.model_validate({"use": use, "otherwise": list(otherwise), **more})


def names(models: dict[str, ModelConfig], role: str) -> list[str]:
    return [name for name, _ in resolve(models, role)]


def test_chains_follow_roles_and_end_in_circles() -> None:
    models = {
        "slm": config("ollama:small", "llm", "embedded:tiny"),
        "llm": config("openai:big", "slm"),
    }
    assert names(models, "slm") == ["ollama:small", "openai:big", "embedded:tiny"]
    assert names(models, "llm") == ["openai:big", "ollama:small", "embedded:tiny"]


def test_a_plain_fallback_inherits_all_but_price_server_and_context() -> None:
    models = {"llm": config("openai:big", "ollama:small", timeout_s=7, base_url="http://x", context=999)}
    fallback = dict(resolve(models, "llm"))["ollama:small"]
    assert (fallback.use, fallback.timeout_s, fallback.base_url, fallback.context) == ("ollama:small", 7, None, None)


def test_a_fallback_that_another_role_uses_has_that_roles_settings() -> None:
    models = {"slm": config("ollama:small", context=8192), "llm": config("openai:big", "ollama:small")}
    assert dict(resolve(models, "llm"))["ollama:small"].context == 8192


def test_what_does_not_resolve_is_listed() -> None:
    assert unresolved({"slm": config("a:1", "b:2", "lm")}) == [("slm", 1, "lm")]


@pytest.mark.parametrize(
    "bad",
    [
        {"use": "gpt-5"},
        {"use": "openai:"},
        {"use": "ollama: qwen3"},
        {"use": "embedded: x.gguf"},
        {"use": "embedded:my model"},
        {"use": "ollama:x", "timeout_s": 0},
        {"use": "ollama:x", "minimum": {"judge": 0.8}},
        {"use": "ollama:x", "minimum": {"review": 80}},
        {"use": "ollama:x", "price_per_mtok": {"input": -1, "output": 0}},
        {"use": "ollama:x", "fallback": []},
        {"use": "ollama:x", "options": {"num_ctx": 2048}},
        {"use": "ollama:x", "options": {"repeat_penalty": 0}},
        {"use": "openai:x", "options": {"top_k": 1}},
        {"use": "embedded:x", "options": {"num_thread": 2}},
        {"use": "openai:x", "think": "low"},
        {"use": "ollama:x", "think": "very much"},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelConfig.model_validate(bad)


@pytest.mark.parametrize(
    ("written", "sent"),
    [("5m", "5m"), ("1h30m", "1h30m"), ("-1s", "-1s"), ("0", "0"), (300, 300), ("300", 300), (-1, -1), ("-1", -1)],
)
def test_keep_alive_is_read_as_ollama_reads_it(written: str | int, sent: str | int) -> None:
    """Its API refuses a number in quotes, which its environment variable takes."""
    assert config("ollama:x", keep_alive=written).keep_alive == sent


@pytest.mark.parametrize("written", ["banana", "", "5 m", "5d", "1.5", "forever"])
def test_a_keep_alive_that_ollama_would_refuse_is_refused_at_load(written: str) -> None:
    with pytest.raises(ValidationError, match="is not a duration: write seconds"):
        config("ollama:x", keep_alive=written)


def test_a_plain_fallback_is_not_told_to_think() -> None:
    models = {"llm": config("ollama:big", "ollama:small", think="high", options={"top_k": 7})}
    fallback = dict(resolve(models, "llm"))["ollama:small"]
    assert (fallback.think, fallback.options.top_k) == (False, 7)


def test_a_file_of_your_own_may_have_spaces_and_is_looked_for_beside_the_workflow(tmp_path: Path) -> None:
    own, base = tmp_path / "own", tmp_path / "base"
    for folder in (own, base):
        (folder / "my models").mkdir(parents=True)
    role = config("embedded:./my models/a b.gguf", "embedded:c.gguf").beside((own, base))
    assert role.file == own / "my models" / "a b.gguf", "where it would have to be"
    (base / "my models" / "a b.gguf").touch()
    assert role.file == base / "my models" / "a b.gguf"
    (_, fallback) = (one for _, one in resolve({"slm": role}, "slm"))
    assert fallback.file == own / "c.gguf"
    assert config(f"embedded:{base}/x.gguf").beside((own,)).file == base / "x.gguf"
    assert config("embedded:x.gguf").file == Path("x.gguf"), "without a workflow: beside the caller"
    assert config("ollama:x.gguf").file is None
    assert config("embedded:smollm2-135m").file is None
