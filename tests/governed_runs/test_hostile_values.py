"""Values that no part of a run can hold, from a model, an MCP server and a plug-in, through whole runs: cleaned as they
are written, readable in every record afterwards, and never a reason to take the permissive branch."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate import Service
from sluicegate.cli import app
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.plain_data import plain
from sluicegate.services import Services
from sluicegate.state import State
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.mcp_servers import listed
from tests.support.plugged import kind, plugged
from tests.support.stand import NoShadow, served

pytestmark = pytest.mark.slow

# by hand: no JSON library writes what this sends
SERVER = r"""
import json, sys

RESULTS = {
    "beyond 64 bits": '{"n": 1%s}' % ("0" * 30),
    "too large a float": '{"n": 1e999}',
    "ten megabytes": '{"n": "%s"}' % ("x" * 10_000_000),
    "a huge list": '{"n": [%s]}' % ",".join(["1"] * 200_000),
    "deep": '{"n": %s%s}' % ("[" * 150, "]" * 150),
    "half a pair": '{"n": "\\ud800"}',
    "no number": '{"n": NaN}',
}
TOOL = {"name": "look", "description": "", "inputSchema": {"type": "object", "properties": {"what": {}, "more": {}}}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    given, method = asked.get("params") or {}, asked["method"]
    if method == "initialize":
        facts = {"protocolVersion": given["protocolVersion"], "capabilities": {"tools": {}}}
        result = json.dumps({**facts, "serverInfo": {"name": "hostile", "version": "1"}})
    elif method == "tools/list":
        result = json.dumps({"tools": [TOOL]})
    elif method == "tools/call":
        open(sys.argv[1], "a").write("called\n")
        result = '{"content": [], "structuredContent": %s}' % RESULTS[given["arguments"]["what"]]
    else:
        answer = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "unknown"}}
        print(json.dumps(answer), flush=True)
        continue
    print('{"jsonrpc": "2.0", "id": %s, "result": %s}' % (json.dumps(asked["id"]), result), flush=True)
"""
WORKFLOW = """
workflow: hostile
version: 1
purpose: Values that nothing can hold.
models: {slm: {use: "embedded:smollm2-135m"}, embedder: {use: "embedded:all-minilm-l6-v2"}}
intents:
  lookup: {task: tool, risk: low, tool: mcp.hostile.look}
router: {strategy: slm, threshold: 0.5}
waive: [{guarantee: checked-answers, reason: "the words of this server are read by the tests of values only"}]
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {when: "principal.clearance == 'restricted'", go: ask}
      - {otherwise: fields}
  fields:
    kind: extract
    prompt: fields
    fields: {type: object, properties: {what: {}, amount: {}, more: {}}}
    values: {what: derived, amount: derived, more: derived}
    then: NEXT
  ask:
    kind: human-interrupt
    approvers: role:lead
    then: [{when: "approval.verdict == 'approve'", go: look}, {otherwise: refuse}]
  look: {kind: call-tool, tool: mcp.hostile.look, say: "Found {{result.n}}.", then: [{when: "tool.ok", go: respond}, {otherwise: refuse}]}
  respond: {kind: respond}
  refuse: {kind: refuse, say: "No."}
"""  # noqa: E501
LIMITED = '[{when: "extraction.fields.amount > 1000", go: ask}, {otherwise: look}]'
ANN = principal("ann", ["employee"])


def deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value]
    return value


HELD: dict[str, Any] = {
    "beyond 64 bits": 10**30,
    "half a pair": "a\ud800b",
    "no number": float("nan"),
    "without end": float("inf"),
    "ten megabytes": "x" * 10_000_000,
    "deep": deep(5_000),
    "a huge list": [0] * 1_000_000,
    "odd names": {"\ud800": 1, 2: {"a": {3.5}}},
}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    made = FakeModels(parsed={"what": "deep"})
    monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _models: made)
    monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: FakeRouter("lookup"))
    monkeypatch.setattr("sluicegate.graphs.runtime.factory.Opened.warm", lambda _opened: None)
    return made


@pytest.fixture
def calls(tmp_path: Path, own_home: Path) -> Path:
    """Where the MCP server notes that it was called; the operator has listed it."""
    return listed("hostile", SERVER, tmp_path / "calls", home=own_home)


def flow(tmp_path: Path, following: str) -> Path:
    (tmp_path / "flow" / "prompts").mkdir(parents=True, exist_ok=True)
    (tmp_path / "flow" / "prompts" / "fields.md").write_text(
        "---\nid: fields\nversion: 1\n---\n{{question}}{{fields}}\n"
    )
    file = tmp_path / "flow" / "workflow.yaml"
    file.write_text(WORKFLOW.replace("NEXT", following))
    return file


def command(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, (arguments, result.output[-2000:], result.exception)
    return result.stdout


def assert_readable(run: str) -> State:
    """Checkpoint, trace, audit log and exports, by the commands that people use."""
    state = recorded(run)
    assert [plain(part)[1] for part in state.values()] == [[]] * len(state)
    for words in (
        ("trace", "show", run, "--json"),
        ("trace", "export", run),
        ("trace", "export", run, "--format", "otlp"),
    ):
        for line in [command(*words)] if "--json" in words else command(*words).splitlines():
            json.loads(line)
    command("trace", "show", run)
    command("audit", "verify")
    assert json.loads(command("audit", "export", "--run", run, "--texts", "--names", "--json"))
    command("approvals", "list", "--json")
    return state


@pytest.mark.parametrize("what", HELD)
def test_extracted_fields_and_plug_ins(what: str, tmp_path: Path, calls: Path, models: FakeModels) -> None:
    async def odd(_state: State, _services: Services) -> dict[str, Any]:
        return {"extra": {"odd": HELD[what]}}

    models.parsed = {"what": "deep", "more": HELD[what]}
    with plugged(kind("odd", {"extra"}, node=odd, extra={"odd": Any})):
        file = flow(tmp_path, "odd")
        file.write_text(file.read_text() + "  odd: {kind: odd, then: look}\n")
        # through the server, and from the command line
        with served(Service(file, beside=NoShadow)) as client:  # type: ignore[arg-type]
            answer = client.post("/v1/runs", json={"text": "Look it up"}).json()
            assert answer["status"] == "answered", answer
            assert client.get(f"/v1/runs/{answer['run']}/trail").status_code == 200
        said = json.loads(command("run", str(file), "Look it up", "--json"))
        for run in (answer["run"], said["run"]):
            state = assert_readable(run)
            assert {"extra": state["extra"]} == plain({"extra": {"odd": HELD[what]}})[0]
            assert {"fields", "odd"} <= {entry["node"] for entry in state["trail"] if "cleaned" in entry}


@pytest.mark.parametrize("amount", ["beyond 64 bits", "half a pair", "no number", "without end", "deep", "a huge list"])
def test_what_cannot_be_compared_calls_no_tool(amount: str, tmp_path: Path, calls: Path, models: FakeModels) -> None:
    models.parsed = {"what": "deep", "amount": HELD[amount]}
    opened = open_workflow(flow(tmp_path, LIMITED))
    with pytest.raises(RunError) as raised:
        asyncio.run(opened.runner.run("Look it up", ANN, run="r"))
    assert raised.value.code == "SG632"
    assert not calls.exists()
    opened.close()
    assert_readable("r")


# the protocol's own reader refuses what is no JSON of Unicode
RESULTS = {
    "beyond 64 bits": "done",
    "too large a float": "done",
    "ten megabytes": "done",
    "a huge list": "done",
    "deep": "done",
    "half a pair": "failed",
    "no number": "done",
}


@pytest.mark.parametrize(("what", "status"), RESULTS.items())
def test_results_of_a_real_mcp_server(what: str, status: str, tmp_path: Path, calls: Path, models: FakeModels) -> None:
    models.parsed = {"what": what}
    opened = open_workflow(flow(tmp_path, "look"))
    outcome = asyncio.run(opened.runner.run("Look it up", ANN))
    (call,) = outcome.state["tool_calls"]
    assert call["status"] == status, call["error"][:500]
    assert outcome.status == ("answered" if call["status"] == "done" else "refused")
    assert calls.read_text() == "called\n"
    opened.close()
    assert_readable(outcome.run)


@pytest.mark.parametrize("text", ["a\ud800b", "x\x00\x1b[2J", "\u202egnp.exe", "1" * 150_000])
def test_request_texts(text: str, tmp_path: Path, calls: Path, models: FakeModels) -> None:
    opened = open_workflow(flow(tmp_path, "look"))
    outcome = asyncio.run(opened.runner.run(text, ANN, session=text[:100]))
    opened.close()
    assert outcome.status == "answered"
    assert_readable(outcome.run)
