"""The shipped workflow's proofs, with its real conditions: what one careless edit gets."""

import shutil
from pathlib import Path

import pytest

from sluicegate.errors import Problem
from sluicegate.graphs.config.load import inspect
from tests.support import ROOT

HELPDESK = ROOT / "configs" / "helpdesk"


def edited(folder: Path, old: str, new: str) -> list[Problem]:
    copy = folder / "helpdesk"
    shutil.copytree(HELPDESK, copy)
    file = copy / "workflow.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return [problem for problem in inspect(file)[1] if problem.code.startswith("SG13")]


@pytest.mark.slow
def test_it_is_proved(tmp_path: Path) -> None:
    assert edited(tmp_path, "purpose:", "purpose:") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("cache.hit && intent.risk == 'low'", "cache.hit", "SG134", "by the path classify, gate, recall, respond"),
        (" || intent.risk == 'high'", "", "SG134", "check, respond"),
        ("then: check_digest}", "then: respond}", "SG134", "by the path classify, gate, digest, respond"),
        ("then: gate}", "then: recall}", "SG130", "'gate'"),
        ("    max_visits: 2\n", "", "SG133", "synthesize"),
        ("policy.verdict == 'deny'", "policy.verdict == 'deny' && intent.risk == 'high'", "SG134", "denied"),
        (
            "checks.failed || intent.risk == 'high'",
            "intent.risk == 'high'",
            "SG134",
            "failed its output-check",
        ),
        ("['approve', 'edit']", "['approve', 'edit', 'timeout']", "SG134", "nobody decided in time"),
        ("['approve', 'edit']", "['approve', 'edit', 'reject']", "SG134", "what a person rejected"),
        ("start: classify", "start: gate", "SG130", "'classify'"),
    ],
)
def test_a_careless_edit_is_told(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    assert any(problem.code == code and said in problem.message for problem in edited(tmp_path, old, new))


RECALL = "cache.hit && intent.risk == 'low'"


@pytest.mark.slow
@pytest.mark.parametrize(
    "disguised",
    [
        f"{RECALL} // '\\n || spend.stopped // '",
        f"{RECALL} || (spend.stopped && request.channel != '''a'1''')",
        f"{RECALL} || [cache.hit, spend.stopped].exists(each, each)",
        "cache.hit ? intent.risk == 'low' : spend.stopped",
    ],
)
def test_a_field_in_a_disguise_is_seen(tmp_path: Path, disguised: str) -> None:
    """Behind a comment, between odd quotes, inside a macro: what a condition reads comes from its compiled form."""
    problems = edited(tmp_path, f'"{RECALL}"', f'"{disguised}"')
    assert any("by the path classify, gate, recall, respond" in problem.message for problem in problems)


def test_a_field_that_its_writer_may_leave_out_can_be_absent(tmp_path: Path) -> None:
    """`classify` writes the route's threshold, not its path: neither branch would hold, and the run would be stuck."""
    old = "  classify: {kind: classify, then: gate}"
    branches = """[{when: "router.path == 'cache'", go: gate}, {when: "router.path != 'cache'", go: gate}]"""
    problems = edited(tmp_path, old, f"  classify: {{kind: classify, then: {branches}}}")
    assert [problem.code for problem in problems] == ["SG132"]


def test_a_lookup_is_always_written(tmp_path: Path) -> None:
    old = "      - {otherwise: facts}\n  facts:"
    new = """      - {when: "!(cache.hit && intent.risk == 'low')", go: facts}\n  facts:"""
    assert edited(tmp_path, old, new) == []
