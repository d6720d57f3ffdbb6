"""The helpdesk's example decisions: all come out as written, and every rule of its own decides at least one."""

import json
import re

from typer.testing import CliRunner

from sluicegate.cli import policy
from tests.support import ROOT

HELPDESK = ROOT / "configs" / "helpdesk"


def test_the_helpdesk_decides_its_examples_and_shows_each_of_its_rules() -> None:
    result = CliRunner().invoke(policy.app, ["test", str(HELPDESK / "workflow.yaml"), "--json"])
    assert result.exit_code == 0, result.stdout
    shown = json.loads(result.stdout)
    own = set(re.findall(r'@id\("([^"]+)"\)', (HELPDESK / "policies" / "helpdesk.cedar").read_text("utf-8")))
    assert own
    assert own <= {rule for row in shown["examples"] if row["passed"] for rule in row["rules"]}
