"""Prompt files: sections, versions, placeholders, and values that are only text."""

from pathlib import Path

import pytest

from sluicegate.errors import ConfigError
from sluicegate.nodes.prompts import PromptFolder, fill, parse, placeholders

TEXT = """---
id: answer
version: "2"
---
# system
Be brief.

# user
{{question}} from {{ sources }}
"""


def test_sections_version_and_hash() -> None:
    prompt = parse(TEXT, "other")
    assert (prompt.id, prompt.version) == ("answer", "2")
    assert [role for role, _ in prompt.sections] == ["system", "user"]
    assert parse(TEXT + " ", "other").hash != prompt.hash


def test_a_file_without_sections_is_the_users_message() -> None:
    prompt = parse("Say {{question}}", "plain")
    assert (prompt.id, prompt.version, prompt.sections) == ("plain", "0", (("user", "Say {{question}}"),))


def test_values_are_never_looked_at_again() -> None:
    assert fill("{{a}}", {"a": "{{b}}", "b": "secret"}) == "{{b}}"
    assert fill("{{unknown}}!", {}) == "!"


def test_placeholders_are_found_where_they_stand() -> None:
    text = '{{a}} {{ b.c }}\n{{not so}} {"d": {"e": 1}}'
    assert list(placeholders(text)) == [("a", 0), ("b.c", 6), ("not so", 16)]


def test_an_overlays_prompt_comes_first(tmp_path: Path) -> None:
    base, own = tmp_path / "base", tmp_path / "own"
    for folder, word in ((base, "base"), (own, "own")):
        folder.mkdir()
        (folder / "answer.md").write_text(word)
    (base / "other.md").write_text("only in base")
    prompts = PromptFolder([own, base])
    assert prompts.render("answer").messages[0].content == "own"
    assert prompts.render("other").messages[0].content == "only in base"
    with pytest.raises(ConfigError, match="SG114"):
        prompts.render("nothing")


def test_a_managed_text_replaces_the_file(tmp_path: Path) -> None:
    (tmp_path / "answer.md").write_text("file")
    prompts = PromptFolder([tmp_path], lambda name, text: f"{name} managed, not {text}")
    assert prompts.render("answer").messages[0].content == "answer managed, not file"
