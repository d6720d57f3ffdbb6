"""The shipped workflow's proofs, with its real conditions: what one careless edit gets."""

import shutil
from pathlib import Path

import pytest

from sluicegate.errors import Problem
from sluicegate.graphs.load import inspect

HELPDESK = Path(__file__).parents[2] / "configs" / "helpdesk"


def edited(folder: Path, old: str, new: str) -> list[Problem]:
    copy = folder / "helpdesk"
    shutil.copytree(HELPDESK, copy)
    file = copy / "workflow.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return [problem for problem in inspect(file)[1] if problem.code.startswith("SG13")]


def test_it_is_proved(tmp_path: Path) -> None:
    assert edited(tmp_path, "purpose:", "purpose:") == []


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("cache.hit && intent.risk == 'low'", "cache.hit", "SG134", "by the route classify, gate, recall, respond"),
        ("checks.failed || intent.risk == 'high'", "checks.failed", "SG134", "check, respond"),
        ("then: check_digest}", "then: respond}", "SG134", "by the route classify, gate, digest, respond"),
        ("then: gate}", "then: recall}", "SG130", "node 'gate' is never reached"),
        ("    max_visits: 2\n", "", "SG133", "synthesize"),
        ("start: classify", "start: gate", "SG130", "node 'classify' is never reached"),
    ],
)
def test_a_careless_edit_is_told(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    assert any(problem.code == code and said in problem.message for problem in edited(tmp_path, old, new))
