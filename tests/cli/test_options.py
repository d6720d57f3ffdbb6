"""`--since`: ages and times, the same in every command."""

from datetime import UTC, datetime

import pytest
import typer

from sluicegate.cli._support.options import since_ns


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2w", 1209600)])
def test_ages(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.cli._support.options.time.time", lambda: 1_800_000_000.0)
    assert since_ns(text) == pytest.approx((1_800_000_000 - seconds) * 1e9)


def test_times() -> None:
    assert since_ns("2026-11-23T12:00:00+00:00") == int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()) * 10**9
    assert since_ns("") == since_ns("9999999w") == 0
    assert since_ns("9999-01-01") == 2**63 - 1


@pytest.mark.parametrize("text", ["yesterday", "7", "7y"])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither an age such as 30m, 12h or 7d nor an ISO time"):
        since_ns(text)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["trace list", "trace usage", "router drift", "router refit", "replay"])
def test_every_command_reads_it_the_same_way(command: str) -> None:
    from typer.testing import CliRunner

    from sluicegate.cli import app

    config = "configs/helpdesk/workflow.yaml"
    more = {"router drift": [config], "router refit": [config, "--out", "x"], "replay": ["--with", config]}
    result = CliRunner().invoke(app, [*command.split(), *more.get(command, []), "--since", "7y"])
    assert result.exit_code == 2
    assert "neither an age" in " ".join(result.output.split())
