"""What a config may say of a `for-each`, and what is refused, each at its place."""

import shutil
from pathlib import Path

import pytest

from sluicegate.errors import Problem
from sluicegate.graphs.config.load import inspect, load

FOLDER = Path(__file__).parent / "workflow"

EACH = """
nodes:
  facts: {then: each}
  each: {kind: for-each, over: documents, do: note, at_most: 5, collect: notes, then: answer}
  note: {kind: slm-answer, prompt: note, then: each}
"""
PROMPT = "---\nid: note\nversion: 1\n---\n{{question}} {{sources}} {{feedback}} {{item}} {{item.title}} {{item.index}}"


def at(tmp_path: Path, over: str, prompt: str = PROMPT) -> Path:
    folder = tmp_path / "workflow"
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "prompts" / "note.md").write_text(prompt)
    (folder / "over.yaml").write_text(f"extends: workflow.yaml\n{over}")
    return folder / "over.yaml"


def checked(tmp_path: Path, over: str, prompt: str = PROMPT) -> list[Problem]:
    return inspect(at(tmp_path, over, prompt))[1]


def test_a_for_each_and_its_items(tmp_path: Path) -> None:
    assert checked(tmp_path, EACH) == []
    nodes = load(at(tmp_path, EACH)).flow.nodes
    assert (nodes["each"].do, nodes["note"].within, nodes["answer"].within) == ("note", "each", "")
    assert nodes["note"].on_error is not None
    assert nodes["note"].on_error.to == "each"


def test_what_is_done_for_an_item_is_part_of_the_digest(tmp_path: Path) -> None:
    before = load(at(tmp_path, EACH)).digest
    assert load(at(tmp_path, EACH.replace("at_most: 5", "at_most: 6"))).digest != before


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("do: note", "do: notte", "SG111", "unknown node 'notte'"),
        ("at_most: 5, ", "", "SG106", "missing key 'at_most'"),
        ("at_most: 5", "at_most: 10000", "SG107", "less than or equal to 1000"),
        ("over: documents", "over: request.text", "SG121", "the condition gives text, not a list"),
        ("over: documents", "over: request.nope", "SG122", "unknown field 'request.nope'"),
        ("over: documents", "over: extraction.fields.rows", "SG124", "extraction.fields has no value at 'each'"),
        ("do: note", "do: each", "SG142", "it is that node itself"),
        ("do: note", "do: answer", "SG142", "'respond' is reached in what 'each' does for an item, and ends the run"),
        ("note, then: each", "note, then: approve", "SG142", "'approve' is reached in what 'each' does for an item"),
        ("note, then: each", "note, max_visits: 2, then: each", "SG142", "has `max_visits`"),
        ("then: answer}", "then: note}", "SG142", "'each' leads to it from outside"),
        ("facts: {then: each}", "facts: {then: note}", "SG142", "'facts' leads to it from outside"),
        ("collect: notes", "collect: notes, timeout: 3s", "SG105", "for-each lasts as long as its items"),
        ("collect: notes", "collect: notes, ask: '{{item}} {{nope}}'", "SG125", "unknown placeholder {{nope}}"),
        ("collect: notes", "collect: notes, at_least: 1.5", "SG107", "1.5 should be"),
        (
            "collect: notes, then: answer",
            "collect: notes, then: [{when: 'size(items.nots) > 0', go: answer}, {otherwise: approve}]",
            "SG123",
            "items never has 'nots'",
        ),
        (
            "collect: notes, then: answer",
            "collect: notes, then: [{when: 'item.index > 0', go: answer}, {otherwise: approve}]",
            "SG124",
            "item.index has no value at 'each'",
        ),
    ],
)  # fmt: skip
def test_what_a_for_each_may_not_be(tmp_path: Path, old: str, new: str, code: str, says: str) -> None:
    assert old in EACH
    problems = checked(tmp_path, EACH.replace(old, new))
    (found,) = {each for each in problems if each.code == code and says in each.message}
    assert found.place is not None
    assert found.place.file.endswith("over.yaml" if "is reached in" not in says else "workflow.yaml")


def test_an_item_is_shown_within_and_its_results_after_it(tmp_path: Path) -> None:
    shown = PROMPT + " {{items.notes}} {{failed_items.notes}}"
    assert checked(tmp_path, EACH, shown) == []
    outside = EACH.replace("do: note", "do: other").replace("prompt: note, then: each", "prompt: note, then: check")
    outside = outside.replace("then: answer}", "then: note}") + "  other: {kind: retrieve, index: kb, then: each}\n"
    codes = [each.message for each in checked(tmp_path, outside, shown)]
    assert len(codes) == 3
    assert all("unknown placeholder {{item" in each for each in codes)
    (unknown,) = checked(tmp_path, EACH, PROMPT + " {{items.nope}}")
    assert unknown.code == "SG125"


def test_conditions_read_what_items_have_come_to(tmp_path: Path) -> None:
    when = "items.notes.exists(n, n.answer.confidence > 0.5) && size(failed_items.notes) == 0"
    branches = f"then: [{{when: '{when}', go: answer}}, {{otherwise: refuse}}]"
    assert checked(tmp_path, EACH.replace("then: answer", branches)) == []


def test_what_an_item_has_written_has_no_value_after_it(tmp_path: Path) -> None:
    over = EACH.replace("prompt: note, then: each", "prompt: note, then: lookup") + (
        "  lookup: {kind: output-check, guards: [pii], then: [{when: checks.failed, go: other}, {otherwise: each}]}\n"
        "  other: {kind: slm-answer, prompt: note, then: each}\n"
        "  answer: {then: [{when: checks.failed, go: refuse}, {otherwise: check}]}\n"
    )
    assert [each.message for each in checked(tmp_path, over) if each.code == "SG124"] == [
        "checks.failed has no value at 'answer': no earlier node writes it"
    ]


def test_a_round_within_an_item_is_endless(tmp_path: Path) -> None:
    over = EACH.replace("prompt: note, then: each", "prompt: note, then: back") + (
        "  back: {kind: retrieve, index: kb, then: [{when: retrieval.count > 0, go: note}, {otherwise: each}]}\n"
    )
    assert "SG133" in [each.code for each in checked(tmp_path, over)]


ORDER = """
nodes:
  facts: {then: each}
  each: {kind: for-each, over: documents, do: order, at_most: 5, collect: notes, then: answer}
  order: {kind: call-tool, tool: create_ticket, arguments: {title: "{{item.title}}", category: hardware}, then: each}
"""


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("title:", "titel:", "SG127", "create_ticket takes no argument 'titel'"),
        ("hardware", "gardening", "SG127", "category of create_ticket is never 'gardening'"),
        ("hardware", "'{{item.kind}}'", "", ""),
        ("{{item.title}}", "{{sources}}", "SG125", "unknown placeholder {{sources}} in the arguments of 'order'"),
        ("{{item.title}}", "{{items.nope}}", "SG125", "unknown placeholder {{items.nope}}"),
        ("{{item.title}}", "{{items.notes}} {{extraction.urgency}} {{question}}", "", ""),
    ],
)  # fmt: skip
def test_what_a_tool_is_called_with_for_an_item(tmp_path: Path, old: str, new: str, code: str, says: str) -> None:
    assert old in ORDER
    assert checked(tmp_path, ORDER) == []
    problems = checked(tmp_path, ORDER.replace(old, new))
    assert [each.code for each in problems] == ([code] if code else [])
    assert all(says in each.message for each in problems)
    assert all(each.place and each.place.line == 6 for each in problems)


def test_who_approves_before_a_list_has_not_seen_what_is_called_for_its_items(tmp_path: Path) -> None:
    over = ORDER.replace("facts: {then: each}", "facts: {then: ask}").replace("then: answer}", "then: respond}") + (
        "  ask: {kind: human-interrupt, approvers: 'role:lead',"
        " then: [{when: \"approval.verdict == 'approve'\", go: each}, {otherwise: refuse}]}\n"
    )
    assert any("what a person approved is what is" in each.message for each in checked(tmp_path, over))
    same_for_all = over.replace("{{item.title}}", "Order what was asked for")
    assert not [each for each in checked(tmp_path, same_for_all) if "what a person approved" in each.message]


def test_a_cached_answer_is_one_to_a_whole_request(tmp_path: Path) -> None:
    over = EACH.replace("prompt: note, then: each", "prompt: note, then: recall")
    assert any("looks for the answer to a whole request" in each.message for each in checked(tmp_path, over))


def test_what_is_checked_for_an_item_does_not_count_after_it(tmp_path: Path) -> None:
    """Of an empty list nothing is checked."""
    over = EACH.replace("prompt: note, then: each", "prompt: note, then: looked") + (
        "  looked: {kind: output-check, guards: [pii], then: each}\n  answer: {then: respond}\n"
    )
    broken = [each.message for each in checked(tmp_path, over) if each.code == "SG134"]
    assert any(
        "no respond without output-check after slm-answer" in each and "facts, each, answer, respond" in each
        for each in broken
    )


def test_what_fails_a_check_for_an_item_is_not_sent_after_it(tmp_path: Path) -> None:
    over = EACH.replace("prompt: note, then: each", "prompt: note, then: looked") + (
        "  looked: {kind: output-check, guards: [length], then: each}\n"
    )
    problems = [each for each in checked(tmp_path, over) if each.code == "SG134"]
    assert any("a draft that failed its output-check is not sent" in each.message for each in problems)
    assert all("each, note, looked, each, answer" in each.message for each in problems)
    assert all("each to note by each item" in each.message for each in problems)
    at_least_these = over.replace("guards: [length]", "guards: [tone]")
    assert checked(tmp_path, at_least_these) == []
