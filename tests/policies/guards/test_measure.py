"""The figures on the development data, through the command line, and the arithmetic behind them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli.guard import app
from sluicegate.errors import ConfigError
from sluicegate.policies.guards.checking import Finding, Subject, Verdict
from sluicegate.policies.guards.measure import load_rows, measure
from tests.support import SHARED_DATA as DATA


def _eval(guard: str, name: str, *options: str) -> dict[str, Any]:
    file = DATA / "guards" / f"{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"the development data are absent: {file}")
    result = CliRunner().invoke(app, ["eval", guard, "--data", str(file), "--json", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_injection() -> None:
    figures = _eval("injection", "injection_dev")
    assert figures["rows"] == 280
    assert figures["recall"] >= 0.90
    assert figures["false_positive_rate"] <= 0.02
    assert figures["latency_ms_p50"] > 0


def test_over_refusal_by_every_guard_on_requests() -> None:
    for guard in ("injection", "secrets", "pii"):
        assert _eval(guard, "overrefusal_dev")["false_positive_rate"] <= 0.05 / 3


@pytest.mark.slow
def test_pii() -> None:
    figures = _eval("pii", "pii_dev")
    assert figures["recall"] >= 0.97
    assert figures["precision"] >= 0.95
    assert {"person", "place", "organization"} <= set(figures["not_covered"])
    for name in ("email", "phone", "credit-card", "iban", "ssn", "ip-address", "url"):
        assert figures["entities"][name]["overlap"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clinc150/val", "it_tickets/tune"])
@pytest.mark.parametrize("guard", ["pii", "secrets", "injection"])
def test_ordinary_requests_are_left_alone(guard: str, name: str) -> None:
    file = DATA / f"{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"the development data are absent: {file}")
    from sluicegate.policies.guards.checking import Helpers
    from sluicegate.policies.guards.registry import guards

    kind = guards()[guard]
    check = kind.make(kind.settings(), Helpers())
    rows = [json.loads(line)["text"] for line in gzip.decompress(file.read_bytes()).splitlines()][:800]
    verdicts = [check(Subject(text, "request")) for text in rows]
    failed = sum(not verdict.passed for verdict in verdicts if isinstance(verdict, Verdict))
    assert failed / len(rows) <= 0.015


def test_spans_are_counted_by_overlap(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            "text": "x" * 30,
            "spans": [{"type": "EMAIL_ADDRESS", "start": 0, "end": 10}, {"type": "PERSON", "start": 20, "end": 25}],
        },
        {"text": "y" * 10, "spans": []},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def check(subject: Subject) -> Verdict:
        if subject.text.startswith("y"):
            return Verdict(passed=False, findings=(Finding(0, 3, "phone"),))
        return Verdict(passed=False, findings=(Finding(5, 12, "email"),))

    figures = measure(check, load_rows(file))
    assert figures["entities"]["email"] == {"labelled": 1, "recall": 1.0, "precision": 1.0, "overlap": 0.5}
    assert figures["entities"]["phone"] == {"labelled": 0, "recall": None, "precision": 0.0, "overlap": None}
    assert figures["recall"] == 1.0
    assert figures["precision"] == 0.5
    assert figures["false_positive_rate"] == 1.0
    assert figures["recall_over_all_types"] == 0.5


def test_rows_are_counted_both_ways_round(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a", "attack": true}\n{"text": "b", "safe": true}\n{"text": "ab", "flagged": false}\n\n')

    def check(subject: Subject) -> Verdict:
        return Verdict(passed="a" not in subject.text)

    figures = measure(check, load_rows(file))
    assert {key: figures[key] for key in ("rows", "recall", "precision", "false_positive_rate")} == {
        "rows": 3,
        "recall": 1.0,
        "precision": 0.5,
        "false_positive_rate": 0.5,
    }


def test_bad_rows_are_all_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a", "attack": true}\n{"text": 1, "attack": true}\n[]\n{"text": "b"}\n')
    with pytest.raises(ConfigError) as caught:
        load_rows(file)
    assert [str(problem.place) for problem in caught.value.problems] == [f"{file}:{line}:1" for line in (2, 3, 4)]
    with pytest.raises(ConfigError, match="SG101"):
        load_rows(tmp_path / "none.jsonl")


def test_check_and_list_on_the_command_line() -> None:
    shown = CliRunner().invoke(app, ["check", "pii,length", "Mail bob@example.org", "--json"])
    assert json.loads(shown.stdout)["text"] == "Mail <EMAIL_1>"
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert [row["guard"] for row in listed][:3] == ["pii", "secrets", "injection"]
