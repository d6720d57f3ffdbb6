"""Prompt files: sections, versions, placeholders, and values that are only text."""

import pytest

from sluicegate.errors import ConfigError
from sluicegate.nodes.prompts import PromptSet, fill, parse, placeholders

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


def test_an_unknown_prompt_is_an_error() -> None:
    prompts = PromptSet({"answer": "own"})
    assert prompts.render("answer").messages[0].content == "own"
    with pytest.raises(ConfigError, match="SG114"):
        prompts.render("nothing")
