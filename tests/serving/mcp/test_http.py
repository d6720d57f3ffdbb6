"""The MCP server over streamable HTTP, driven by the SDK's client: what it lists, to whom, and how it says no."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError

from sluicegate import Limits
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.http.callers import FixedCaller, Named, TokenFile
from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
from sluicegate.serving.http.callers.oidc.settings import Issuer, OidcSettings
from sluicegate.serving.service import Service, run_id
from sluicegate.serving.workflows import Workflows
from tests.support import stand
from tests.support.mcp_clients import links, over_http, words
from tests.support.stand import let_go, served
from tests.support.waiting import soon

NAME = "shadow-evaluation"
LEA = {"x-user": "lea", "x-roles": "helpdesk-lead"}
BEN = {"x-user": "ben", "x-roles": "employee"}


@pytest.fixture
def server() -> Iterator[httpx.Client]:
    with served() as client:
        yield client


def run_of(request_id: str) -> str:
    return run_id(NAME, principal("ann", ["employee"]), request_id)


async def asked(client: Client, text: str, **more: Any) -> Any:
    """The structured content of an answer, which fits its schema: the SDK's client checks it."""
    result = await client.call_tool(NAME, {"text": text, **more})
    assert not result.is_error, words(result)
    return result.structured_content


async def failed(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None
    return words(result)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_workflow_is_a_tool_whose_answer_fits_its_schema(server: httpx.Client, mode: Any) -> None:
    async with over_http(server, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool(NAME, {"text": "How do I reset it?"})
        said = result.structured_content
        found = await client.call_tool("get_run", {"run": said["run"]})
        (uri,) = links(result)
        source = await client.read_resource(uri)
    assert [*tools] == [NAME, "get_run"]
    assert tools[NAME].input_schema["additionalProperties"] is False
    assert not result.is_error
    Draft202012Validator(tools[NAME].output_schema or {}).validate(said)
    assert said == found.structured_content
    assert (said["status"], said["path"], said["intent"], said["confidence"]) == (
        "answered",
        "rag-slm",
        "question",
        0.9,
    )
    assert words(result) == said["answer"] == "Version 1 [1]."
    cited = {"marker": "[1]", "document": "kb-1", "version": "2", "title": "Passwords", "uri": uri}
    assert said["citations"] == [cited]
    assert uri == f"sluicegate://runs/{said['run']}/documents/kb-1"
    assert [each.text for each in source.contents] == ["Reset it in the portal."]


@pytest.mark.slow
async def test_what_waits_is_decided_by_who_may(server: httpx.Client) -> None:
    async with over_http(server) as ann, over_http(server, LEA) as lea, over_http(server, BEN) as ben:
        result = await ann.call_tool(NAME, {"text": "access please"})
        said = result.structured_content
        run = said["run"]
        assert not result.is_error
        assert (said["status"], said["answer"], said["approval"]["id"]) == ("waiting", "", run)
        assert f"call get_run with the run {run}" in words(result)
        for other in (ann, ben):
            page = await other.call_tool("list_approvals", {})
            assert page.structured_content == {"approvals": [], "next": ""}
        (waiting,) = (await lea.call_tool("list_approvals", {})).structured_content["approvals"]
        assert (waiting["id"], waiting["request"], waiting["draft"]) == (run, "access please", "Opened T-1.")
        assert "SG610" in await failed(ann, "decide_approval", run=run, verdict="approve")
        for tool, more in (("decide_approval", {"verdict": "approve"}), ("get_run", {})):
            theirs = await failed(ben, tool, run=run, **more)
            # what is there and what is not look alike to who may see neither
            assert theirs.replace(run, "") == (await failed(ben, tool, run="f" * 24, **more)).replace("f" * 24, "")
            assert "SG603" in theirs
        assert "verdict" in await failed(lea, "decide_approval", run=run, verdict="maybe")
        assert "text or arguments" in await failed(lea, "decide_approval", run=run, verdict="edit")
        done = await lea.call_tool("decide_approval", {"run": run, "verdict": "reject", "reason": "no ticket"})
        # a refusal is an answer
        assert (done.is_error, done.structured_content["status"]) == (False, "refused")
        assert "SG605" in await failed(lea, "decide_approval", run=run, verdict="approve")
        found = await ann.call_tool("get_run", {"run": run})
        assert (found.is_error, found.structured_content["path"]) == (False, "refused")
        assert "No ticket." in words(found)


@pytest.mark.slow
async def test_anothers_runs_and_sources_are_nobodys_business(server: httpx.Client) -> None:
    async with over_http(server) as ann, over_http(server, BEN) as ben:
        said = await asked(ann, "How?", request_id="mine")
        (cited,) = said["citations"]
        for uri in (
            cited["uri"],
            cited["uri"].replace("kb-1", "kb-2"),
            "sluicegate://runs//documents/x",
            "file:///etc",
        ):
            with pytest.raises(MCPError) as raised:
                await ben.read_resource(uri)
            assert raised.value.code == -32602
        # an id is its owner's
        assert (await asked(ben, "How?", request_id="mine"))["run"] != said["run"]
        assert (await asked(ann, "How?", request_id="mine"))["run"] == said["run"]
        assert "SG621" in await failed(ann, NAME, text="Another?", request_id="mine")


@pytest.mark.slow
async def test_what_a_run_has_read_is_read_by_who_may_read_its_sources(
    server: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sluicegate.graphs.runtime.run import Runner

    async with over_http(server) as ann:
        (cited,) = (await asked(ann, "How?"))["citations"]
        monkeypatch.setattr(Runner, "withheld", lambda *_: "1 of 1 sources is not yours to read")
        with pytest.raises(MCPError, match="1 of 1 sources"):
            await ann.read_resource(cited["uri"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_steps_are_told_to_who_asks_for_them(server: httpx.Client, mode: Any) -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        assert total is None
        told.append((done, message))

    async with over_http(server, mode=mode) as client:
        await client.call_tool(NAME, {"text": "How?"}, progress_callback=on_progress)
        await soon(lambda: len(told) == 7)
    steps = ["classify", "gate", "recall", "facts", "answer", "check", "respond"]
    assert told == [(float(number), step) for number, step in enumerate(steps, start=1)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_who_cancels_a_call_cancels_no_run(server: httpx.Client, mode: Any) -> None:
    async with over_http(server, mode=mode) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, client, "hold on", *())
            await soon(lambda: server.get("/readyz").json()["inside"])
            tasks.cancel_scope.cancel()
        assert server.get("/readyz").json()["inside"] == 1
        let_go()
        await soon(lambda: not server.get("/readyz").json()["inside"])


@pytest.mark.slow
async def test_a_call_is_told_that_its_run_takes_longer() -> None:
    with served(stand.service(limits=Limits(timeout_s=0.1))) as server:
        async with over_http(server) as client:
            result = await client.call_tool(NAME, {"text": "hold on", "request_id": "r"})
            assert (result.is_error, result.structured_content["status"]) == (False, "running")
            run = result.structured_content["run"]
            assert run == run_of("r")
            assert f"get_run with the run {run}" in words(result)
            let_go()

            async def status() -> str:
                return (await client.call_tool("get_run", {"run": run})).structured_content["status"]

            while await status() == "running":
                await anyio.sleep(0.01)
            assert await status() == "answered"


@pytest.mark.slow
async def test_too_much_is_turned_away() -> None:
    with served(stand.service(limits=Limits(per_principal=1))) as server:
        async with over_http(server) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(asked, client, "hold on", *())
            await soon(lambda: server.get("/readyz").json()["inside"])
            assert "SG620: ann has 1 requests in progress. Retry in 1 s" in await failed(client, NAME, text="How?")
            let_go()


@pytest.mark.slow
async def test_a_run_that_fails_is_an_error_with_its_code_and_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served(stand.service(open_version=stand.broken)) as server:
        async with over_http(server) as client:
            said = await failed(client, NAME, text="How?", request_id="r")
            assert said.startswith("SG611: ")
            assert "Call again with the same request_id" in said
            assert said.endswith(f"Run: {run_of('r')}")
            found = await client.call_tool("get_run", {"run": run_of("r")})
            assert (found.is_error, found.structured_content["status"]) == (True, "failed")
    assert "the words of ann" not in said + words(found) + caplog.text


@pytest.mark.slow
async def test_what_does_not_fit_is_told_in_a_way_that_a_model_can_mend(server: httpx.Client) -> None:
    async with over_http(server) as client:
        assert await failed(client, NAME, text="") == (
            "Invalid arguments: text: String should have at least 1 character"
        )
        assert "words: Extra inputs are not permitted" in await failed(client, NAME, text="How?", words="How?")
        assert "attachments: Extra inputs" in await failed(client, NAME, text="How?", attachments={"a.csv": "a\n1"})
        assert "text: Field required" in await failed(client, NAME)
        assert "SG601" in await failed(client, NAME, text="  ")
        assert "SG603" in await failed(client, "get_run", run="../../etc")
        with pytest.raises(MCPError, match="Unknown tool: nothing") as raised:
            await client.call_tool("nothing", {})
        assert raised.value.code == -32602


# --- the wire ---

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def posted(server: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return server.post("/mcp", content=content, headers={**HEADERS, **headers})


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize(
    ("frame", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"", 400, -32700),
        (b"\xff\xfe{}", 400, -32700),
        (b"[" * 100_000, 400, -32700),
        (b"[]", 400, None),
        (b'{"id": 1}', 400, None),
        (json.dumps([LIST, LIST]).encode(), 400, None),
        (json.dumps({**LIST, "method": "tools/run", "params": {"_meta": META}}).encode(), None, -32601),
    ],
)
def test_frames_that_are_none_are_answered(
    server: httpx.Client, version: str, frame: bytes, status: int | None, code: int | None
) -> None:
    response = posted(server, frame, **{"mcp-protocol-version": version, "mcp-method": "tools/run"})
    text = response.text
    said = json.loads(text[text.index("{") :]) if "{" in text else {}
    assert status in (None, response.status_code), text
    assert code in (None, said.get("error", {}).get("code")), text
    assert server.get("/healthz").status_code == 200


@pytest.mark.slow
def test_frames_are_bounded_and_nobody_is_read_before_they_are_known(server: httpx.Client) -> None:
    assert posted(server, b" " * 1_000_001).status_code == 413
    assert server.post("/mcp", content=b" " * 1_000_001, headers={**HEADERS, "x-user": ""}).status_code == 401
    assert server.post("/mcp", content=b"{}", headers={"accept": "text/event-stream"}).status_code in (400, 406, 415)
    for method in ("GET", "DELETE", "PUT"):
        assert server.request(method, "/mcp", headers=HEADERS).status_code == 405


@pytest.mark.slow
def test_pages_of_other_sites_are_refused(server: httpx.Client) -> None:
    frame = json.dumps(LIST).encode()
    own = str(server.base_url).rstrip("/")
    for origin in ("https://evil.example", "null", own.replace("http://", "http://evil."), "http://127.0.0.1:1"):
        assert posted(server, frame, origin=origin).status_code == 403
    assert posted(server, frame, origin=own).status_code == 200
    assert posted(server, frame).status_code == 200


@pytest.mark.slow
def test_names_that_were_made_to_point_here_are_refused() -> None:
    with served(callers=FixedCaller(principal("ann", ["employee"]))) as server:
        frame = json.dumps(LIST).encode()
        evil = {"host": "evil.example", "origin": "http://evil.example"}
        assert posted(server, frame, **evil).status_code == 421
        assert posted(server, frame).status_code == 200


@pytest.mark.slow
async def test_a_token_is_its_person_in_every_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    bearer = {
        name: {"authorization": f"Bearer {tokens.add(name, Named(id=name, roles=['employee']))}"}
        for name in ("ann", "ben")
    }
    frame = json.dumps(LIST).encode()
    with served(callers=tokens) as server, caplog.at_level("INFO", "sluicegate.access"):
        for wrong in ({}, {"authorization": "Bearer sg_wrong"}, {"authorization": "Basic YTpi"}):
            refused = posted(server, frame, **wrong)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        async with over_http(server, bearer["ann"], mode="legacy") as ann:
            said = await asked(ann, "How?")
            # there is no session that another could be in: what one is called by another changes nothing
            header = {**bearer["ben"], "mcp-session-id": "ann", "mcp-protocol-version": "2025-11-25"}
            call = {"name": "get_run", "arguments": {"run": said["run"]}}
            answer = posted(server, json.dumps({**LIST, "method": "tools/call", "params": call}).encode(), **header)
            assert "SG603" in answer.text
            assert "mcp-session-id" not in answer.headers
            tokens.revoke("ann")
            with pytest.raises(MCPError):
                await ann.call_tool("get_run", {"run": said["run"]})
    lines = [json.loads(record.message) for record in caplog.records if record.name == "sluicegate.access"]
    called = [line for line in lines if line["run"] == said["run"]]
    assert [(line["route"], line["method"], line["status"]) for line in called] == [("/mcp", "POST", 200)]
    assert len({line["caller"] for line in called}) == 1


@pytest.mark.slow
async def test_any_process_of_a_home_takes_the_next_call() -> None:
    with served() as first, served() as second:
        async with over_http(first) as one, over_http(second) as other:
            said = await asked(one, "How?", request_id="r")
            assert await asked(other, "How?", request_id="r") == said
            found = await other.call_tool("get_run", {"run": said["run"]})
            assert found.structured_content == said


@pytest.mark.slow
async def test_several_workflows_are_several_tools(tmp_path: Path) -> None:
    files = [stand.written(tmp_path / name / "workflow.yaml", name) for name in ("one", "two")]
    with served(Workflows([stand.service(file) for file in files])) as server:
        async with over_http(server) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["one", "two", "get_run"]
            for name in ("one", "two"):
                said = (await client.call_tool(name, {"text": "How?", "request_id": "r"})).structured_content
                assert (said["workflow"], said["status"]) == (name, "answered")
                found = await client.call_tool("get_run", {"run": said["run"]})
                assert found.structured_content == said
                (cited,) = said["citations"]
                assert (await client.read_resource(cited["uri"])).contents
            assert "SG642" in await failed(client, "list_approvals", workflow="three")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_nobody_expected_is_told_without_its_words(
    server: httpx.Client, mode: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = "the words of ann"

    async def fails(*_: Any) -> None:
        raise ZeroDivisionError(said)

    async with over_http(server, mode=mode) as client:
        (cited,) = (await asked(client, "How?"))["citations"]
        monkeypatch.setattr(Service, "find", fails)
        monkeypatch.setattr(Service, "passages", fails)
        with pytest.raises(MCPError, match="Internal error") as raised:
            await client.read_resource(cited["uri"])
        assert raised.value.code == -32603
        assert (await failed(client, "get_run", run="f" * 24)).startswith("SG611: ")
    assert "ZeroDivisionError" in caplog.text
    assert said not in caplog.text


@pytest.mark.slow
async def test_a_server_without_the_sdk_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mcp.server.streamable_http_manager", None)
    with served() as server:
        refused = posted(server, json.dumps(LIST).encode())
        assert (refused.status_code, refused.json()["code"]) == (404, "SG622")
        assert "sluicegate[mcp]" in refused.json()["hint"]
        assert server.post("/v1/runs", json={"text": "How?"}).status_code == 200


@pytest.mark.slow
async def test_a_client_learns_whose_tokens_are_taken() -> None:
    issuer = Issuer(issuer="https://login.example.org", audiences=("sluicegate",))
    callers = OidcCallers(OidcSettings(address="https://gate.example.org", issuers=(issuer,)))
    with served(callers=callers) as server:
        refused = posted(server, json.dumps(LIST).encode())
        assert refused.status_code == 401
        (address,) = re.findall(
            r'resource_metadata="https://gate.example.org(.+)"', refused.headers["www-authenticate"]
        )
        said = server.get(address).json()
    # a client takes it for the endpoint's when that is the resource, or below it
    assert (said["resource"], said["authorization_servers"]) == ("https://gate.example.org", [issuer.issuer])
