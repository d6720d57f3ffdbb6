"""The helpdesk's labelled requests: enough, with labels that the workflow knows, no row in two files."""

import json
import re
import unicodedata
from collections import Counter
from itertools import combinations

import pytest

from sluicegate.evals.evaluation.cases import read_cases
from sluicegate.evals.evaluation.scoring import contains
from sluicegate.graphs.config.load import load
from tests.support import ROOT

HELPDESK = ROOT / "configs" / "helpdesk"
EXAMPLES = HELPDESK / "examples"
SPLITS = ("train", "calibration", "answers", "eval")
NEAR = 0.8
"""Rows of different files that share more of their words than this are near duplicates."""
LEAST_WORDS = 4
"""Shorter rows share many words by nature; they must only differ."""


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (EXAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def test_words_ignore_case_punctuation_and_spaces() -> None:
    assert words("How do I  print?!") == words("how do i print") == ("how", "do", "i", "print")


def test_the_workflow_has_enough_to_show() -> None:
    workflow = load(HELPDESK / "workflow.yaml").config
    assert len(workflow.intents) >= 12
    assert sum(len(rows(split)) for split in SPLITS) >= 300
    assert len(list((HELPDESK / "knowledge").glob("*.md"))) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_the_labels_are_the_intents_and_each_has_rows(split: str) -> None:
    found = rows(split)
    counts = Counter(row["label"] for row in found)
    assert set(counts) == set(load(HELPDESK / "workflow.yaml").config.intents)
    assert min(counts.values()) >= 10
    assert all({"text", "label"} <= row.keys() and row["text"].strip() == row["text"] != "" for row in found)
    read_cases(EXAMPLES / f"{split}.jsonl")  # what a row expects beside its label can be evaluated


@pytest.mark.slow
def test_every_expected_fact_stands_in_the_document_that_it_cites() -> None:
    documents = {path.name[:6]: path.read_text(encoding="utf-8") for path in (HELPDESK / "knowledge").glob("*.md")}
    for split in SPLITS:
        for case in read_cases(EXAMPLES / f"{split}.jsonl"):
            texts = [documents[name] for name in case.citations or ()]
            for fact in case.facts if texts else ():
                assert any(contains(text, form) for text in texts for form in fact.split("|")), case.text


def test_the_workflow_names_the_files() -> None:
    examples = load(HELPDESK / "workflow.yaml").config.examples
    assert [getattr(examples, split) for split in SPLITS] == [f"examples/{split}.jsonl" for split in SPLITS]


def test_no_request_is_there_twice() -> None:
    counts = Counter(words(row["text"]) for split in SPLITS for row in rows(split))
    assert [" ".join(text) for text, count in counts.items() if count > 1] == []


@pytest.mark.slow
def test_no_request_has_a_near_duplicate_in_another_file() -> None:
    sets = {split: [set(words(row["text"])) for row in rows(split)] for split in SPLITS}
    near = [
        (sorted(one), sorted(other))
        for first, second in combinations(SPLITS, 2)
        for one in sets[first]
        for other in sets[second]
        if min(len(one), len(other)) >= LEAST_WORDS and len(one & other) > NEAR * len(one | other)
    ]
    assert near == []


def test_requests_to_try_were_not_fitted_or_measured_on() -> None:
    tried = {words(row["text"]) for row in rows("requests")}
    assert tried
    assert tried.isdisjoint(words(row["text"]) for split in SPLITS for row in rows(split))


def test_the_readme_has_a_rule_for_each_label_and_the_counts() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^- `(\w+)`:", page, re.MULTILINE)) == set(load(HELPDESK / "workflow.yaml").config.intents)
    stated = {name: int(count) for name, count in re.findall(r"^\| `(\w+)\.jsonl` \| (\d+) \|", page, re.MULTILINE)}
    assert stated == {name: len(rows(name)) for name in (*SPLITS, "requests")}
