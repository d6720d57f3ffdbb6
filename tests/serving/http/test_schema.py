"""The HTTP API against its own OpenAPI document: Schemathesis calls each operation with what the document allows and
with what it does not, and goes on from one to the next by its links. All of its checks are on."""

import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate import Limits
from sluicegate.home import home
from sluicegate.serving.http.callers import Named, TokenFile
from tests.support import stand

CONFIG = """
# what no JSON Schema can say is judged after it: whether a text is a table, which message is the last of a history, and
# whether a run waits with a call that arguments can change
{operations}
"""
OPERATION = """
[[operations]]
include-name = "{name}"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "429", "5xx", "{status}"]
"""
JUDGED = {
    **dict.fromkeys(("POST /v1/runs", "POST /v1/approvals/{id}"), 422),
    **dict.fromkeys(("POST /v1/chat/completions", "POST /v1/responses"), 400),
}


@pytest.mark.slow
def test_every_operation_does_what_the_document_says(tmp_path: Path) -> None:
    tokens = TokenFile(home() / "tokens.json")
    token = tokens.add("lea", Named(id="lea", roles=["employee", "helpdesk-lead"]))
    employee = tokens.add("ann", Named(id="ann", roles=["employee"]))
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        CONFIG.format(operations="".join(OPERATION.format(name=name, status=JUDGED[name]) for name in JUDGED))
    )
    # nobody is held up, and the longest text that a schema allows is no larger than a body may be
    limits = Limits(running=8, waiting=500, per_principal=400, body_bytes=8_000_000)
    with stand.served(stand.service(limits=limits), tokens) as client:
        client.headers["authorization"] = f"Bearer {employee}"
        for _ in range(5):
            client.post("/v1/runs", json={"text": "access please"})
        document = client.get("/openapi.json").json()
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run",
                str(client.base_url.join("/openapi.json")), "--header", f"Authorization: Bearer {token}",
                "--checks", "all", "--max-examples", "15", "--seed", "1", "--no-color",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=280,
            check=False,
        )  # fmt: skip
    # it shows bodies whole, which may be as long as the longest text
    assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())
    operations = sum(len(path) for path in document["paths"].values())
    assert f"Tested: {operations}" in done.stdout
