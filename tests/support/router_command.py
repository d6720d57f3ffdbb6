"""`sluicegate router` in the process: what it prints, as text and as data."""

import json
from typing import Any

from typer.testing import CliRunner

from sluicegate.cli.router import app


def said(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*arguments: object) -> Any:
    return json.loads(said(*arguments, "--json"))
