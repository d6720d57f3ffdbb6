"""Several workflows over one API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sluicegate.serving.workflows import Workflows
from tests.support import stand
from tests.support.openai_clients import conversational, sdk
from tests.support.scraping import scraped, value
from tests.support.stand import written

pytestmark = pytest.mark.slow

LEAD = {"x-user": "lea", "x-roles": "helpdesk-lead"}
BEN = {"x-user": "ben"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    files = [written(tmp_path / each / "workflow.yaml", each) for each in ("alpha", "beta")]
    services = [stand.service(each) for each in (*files, conversational(tmp_path / "talks"))]
    with stand.served(Workflows(services)) as client:
        yield client


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    said = response.json()
    assert (response.status_code, said["code"]) == (status, code), said
    return said


def asked(client: httpx.Client, text: str, workflow: str = "", **more: Any) -> dict[str, Any]:
    response = client.post("/v1/runs", json={"text": text, "workflow": workflow, **more})
    assert response.status_code in (200, 202), response.text
    return response.json()


def test_a_request_names_its_workflow(client: httpx.Client) -> None:
    names = [each["name"] for each in client.get("/v1/workflows").json()["workflows"]]
    talks = next(each for each in names if each not in ("alpha", "beta"))
    assert names == sorted(names)
    runs = {name: asked(client, "How?", name)["run"] for name in names}
    for name, run in runs.items():
        assert client.get(f"/v1/runs/{run}").json()["workflow"] == name
        assert client.get(f"/v1/runs/{run}/trail").json()["decisions"]
        given = client.post(f"/v1/runs/{run}/feedback", json={"name": "stars", "value": 4})
        assert given.status_code == 201
        problem(client.get(f"/v1/runs/{run}", headers=BEN), 404, "SG603")
    problem(client.get(f"/v1/runs/{'f' * 24}"), 404, "SG603")
    for body in ({"text": "How?"}, {"text": "How?", "workflow": "gamma"}):
        said = problem(client.post("/v1/runs", json=body), 422, "SG642")
        assert f"alpha, beta, {talks}" in said["hint"]


def test_the_same_id_is_a_run_of_each_workflow(client: httpx.Client) -> None:
    runs = [asked(client, "How?", name, request_id="r-1")["run"] for name in ("alpha", "beta", "alpha")]
    assert runs[0] == runs[2] != runs[1]


def test_what_waits_of_all_is_decided_by_its_run(client: httpx.Client) -> None:
    runs = [asked(client, f"access {name}", name)["run"] for name in ("beta", "alpha")]
    waiting = client.get("/v1/approvals", headers=LEAD).json()["approvals"]
    assert [(each["id"], each["workflow"]) for each in waiting] == [(runs[0], "beta"), (runs[1], "alpha")]
    first = client.get("/v1/approvals", params={"limit": 1}, headers=LEAD).json()
    second = client.get("/v1/approvals", params={"limit": 1, "after": first["next"]}, headers=LEAD).json()
    assert [each["id"] for each in (*first["approvals"], *second["approvals"])] == runs
    [only] = client.get("/v1/approvals", params={"workflow": "alpha"}, headers=LEAD).json()["approvals"]
    assert only["id"] == runs[1]
    problem(client.get("/v1/approvals", params={"workflow": "gamma"}, headers=LEAD), 422, "SG642")
    assert client.get(f"/v1/approvals/{runs[1]}", headers=LEAD).json()["workflow"] == "alpha"
    decided = client.post(f"/v1/approvals/{runs[1]}", json={"verdict": "approve"}, headers=LEAD).json()
    assert (decided["status"], decided["workflow"]) == ("answered", "alpha")
    problem(client.post(f"/v1/approvals/{runs[0]}", json={"verdict": "approve"}, headers=BEN), 404, "SG603")


def test_conversations_are_listed_with_their_workflows(client: httpx.Client) -> None:
    [talks] = [each for each in client.get("/v1/workflows").json()["workflows"] if each["conversations"]]
    asked(client, "How do I reset it?", talks["name"], session="printer")
    asked(client, "And then?", talks["name"], session="printer")
    [listed] = client.get("/v1/conversations").json()["conversations"]
    assert (listed["session"], listed["workflow"], listed["turns"]) == ("printer", talks["name"], 2)
    assert client.get("/v1/conversations", params={"workflow": "alpha"}).json() == {"conversations": []}
    named = {"session": "printer", "workflow": talks["name"]}
    assert len(client.get("/v1/turns", params=named).json()["turns"]) == 2
    problem(client.get("/v1/turns", params={"session": "printer"}), 422, "SG642")
    problem(client.get("/v1/turns", params={"session": "printer", "workflow": "alpha"}), 404, "SG640")


def test_readiness_metrics_and_the_document_have_each(client: httpx.Client) -> None:
    for name, count in (("alpha", 2), ("beta", 1)):
        for number in range(count):
            asked(client, f"How {number}?", name)
    ready = client.get("/readyz").json()
    served = client.get("/v1/workflows").json()["workflows"]
    assert (ready["status"], ready["inside"]) == ("ready", 0)
    assert [(each["workflow"], each["digest"]) for each in ready["workflows"]] == [
        (each["name"], each["digest"]) for each in served
    ]
    text = scraped(client)
    assert value(text, "sluicegate_runs_total", workflow="alpha", status="answered") == 2
    assert value(text, "sluicegate_runs_total", workflow="beta", status="answered") == 1
    for each in served:
        assert value(text, "sluicegate_serving", workflow=each["name"]) == 1
        assert value(text, "sluicegate_requests_in_progress", workflow=each["name"]) == 0
    document = client.get("/openapi.json").json()
    assert "alpha, beta" in document["info"]["title"]
    assert "workflow" in document["components"]["schemas"]["Ask"]["properties"]


def test_a_model_is_a_workflow(client: httpx.Client) -> None:
    ai = sdk(client)
    assert {"alpha", "beta"} <= {each.id for each in ai.models.list()}
    for name in ("alpha", "beta"):
        reply: Any = ai.chat.completions.create(model=name, messages=[{"role": "user", "content": "How?"}])
        assert reply.sluicegate["workflow"] == name
    with pytest.raises(openai.NotFoundError, match="gamma"):
        ai.models.retrieve("gamma")
    with pytest.raises(openai.NotFoundError):
        ai.chat.completions.create(model="", messages=[{"role": "user", "content": "How?"}])
