"""The API over a real connection: what it says, to whom, and how it says no."""

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from sluicegate import Limits, Service
from sluicegate.errors import ModelError, RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.store import Store
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.serving.http.callers import Claims, FixedCaller, Named, TokenFile
from sluicegate.serving.service import run_id
from tests.support import stand
from tests.support.fakes import FakeModels
from tests.support.machines import Site
from tests.support.receiver import PUBLIC, SECRET, Receiver
from tests.support.stand import served
from tests.support.summarising import ASKED, PATTERN, SENT, SUMMARY, summarising
from tests.support.waiting import until

ANN = principal("ann", ["employee"])
LEAD = {"x-user": "lea", "x-roles": "helpdesk-lead"}
BEN = {"x-user": "ben"}


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with served() as client:
        yield client


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    said = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, said["status"], said["code"]) == (status, status, code), said
    assert said["type"] == f"urn:sluicegate:{code}"
    return said


def ended(client: httpx.Client, run: str) -> str:
    """The status of a run once it does not say that it runs."""

    def status() -> str:
        return client.get(f"/v1/runs/{run}").json()["status"]

    until(lambda: status() not in ("running", 404))
    return status()


@pytest.mark.slow
def test_a_request_is_answered_and_found_again(client: httpx.Client) -> None:
    response = client.post("/v1/runs", json={"text": "How do I reset it?"})
    said = response.json()
    assert response.status_code == 200
    assert (said["status"], said["path"], said["answer"]) == ("answered", "rag-slm", "Version 1 [1].")
    assert said["citations"] == [{"marker": "[1]", "document": "kb-1", "version": "2", "title": "Passwords"}]
    assert (said["intent"], said["confidence"], said["model"]) == ("question", 0.9, "fake:slm")
    found = client.get(f"/v1/runs/{said['run']}").json()
    assert {**found, "ms": 0} == {**said, "ms": 0}
    trail = client.get(f"/v1/runs/{said['run']}/trail").json()
    assert [each["node"] for each in trail["decisions"]] == ["classify", "gate", "recall", "facts", "answer", "check"]
    assert trail["decisions"][3] == {
        "node": "facts", "taken": "answer", "not_taken": ["synthesize"], "condition": "otherwise",
        "values": {"intent.confidence": 0.9, "router.threshold": 0.7}, "confidence": 0.9, "threshold": 0.7,
        "reason": "no branch before it held",
    }  # fmt: skip


@pytest.mark.slow
def test_retries_of_an_id_are_one_run_and_the_id_is_its_owners(client: httpx.Client) -> None:
    body = {"text": "wait 0.1", "request_id": "r-1"}
    with ThreadPoolExecutor(5) as pool:
        runs = {response.json()["run"] for response in pool.map(lambda _: client.post("/v1/runs", json=body), range(5))}
    assert len(runs) == 1
    # a retry says how long the run was at work, not the retry
    assert client.post("/v1/runs", json=body).json()["ms"] >= 100
    problem(client.post("/v1/runs", json={"text": "another", "request_id": "r-1"}), 409, "SG621")
    assert client.post("/v1/runs", json=body, headers=BEN).json()["run"] not in runs


@pytest.mark.slow
def test_what_waits_is_put_to_who_may_decide(client: httpx.Client) -> None:
    response = client.post("/v1/runs", json={"text": "access please"})
    said = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"/v1/runs/{said['run']}")
    assert (said["status"], said["answer"]) == ("waiting", "")
    assert said["approval"]["id"] == said["run"]
    address = f"/v1/approvals/{said['run']}"
    assert client.get("/v1/approvals").json() == {"approvals": [], "next": ""}
    (waiting,) = client.get("/v1/approvals", headers=LEAD).json()["approvals"]
    assert waiting == client.get(address, headers=LEAD).json()
    assert (waiting["request"], waiting["principal"], waiting["draft"]) == ("access please", "ann", "Opened T-1.")
    for theirs in (address, f"/v1/approvals/{'f' * 24}"):
        # what is there and what is not look alike to who may see neither
        problem(client.get(theirs, headers=BEN), 404, "SG603")
        problem(client.post(theirs, json={"verdict": "approve"}, headers=BEN), 404, "SG603")
    problem(client.post(address, json={"verdict": "approve"}), 403, "SG610")
    problem(client.post(address, json={"verdict": "edit"}, headers=LEAD), 422, "SG622")
    problem(client.post(address, json={"verdict": "maybe"}, headers=LEAD), 422, "SG622")
    done = client.post(address, json={"verdict": "reject", "reason": "no ticket"}, headers=LEAD).json()
    assert (done["status"], done["path"], done["answer"]) == ("refused", "refused", "")
    assert "No ticket." in done["reason"]
    problem(client.post(address, json={"verdict": "approve"}, headers=LEAD), 409, "SG605")
    assert client.get(f"/v1/runs/{said['run']}").json()["status"] == "refused"


@pytest.mark.slow
def test_what_waits_is_listed_page_by_page(client: httpx.Client) -> None:
    runs = [
        client.post("/v1/runs", json={"text": f"access {number}"}, headers={"x-user": f"user-{number}"}).json()["run"]
        for number in range(5)
    ]
    pages: list[list[str]] = []
    after = ""
    while after or not pages:
        page = client.get("/v1/approvals", params={"limit": 2, "after": after}, headers=LEAD).json()
        pages.append([one["id"] for one in page["approvals"]])
        after = page["next"]
    assert pages == [runs[:2], runs[2:4], runs[4:]]
    for wrong in ({"limit": 0}, {"limit": 101}, {"after": "' OR 1"}, {"page": 2}):
        problem(client.get("/v1/approvals", params=wrong, headers=LEAD), 422, "SG622")


@pytest.mark.slow
def test_nobody_sees_what_is_not_theirs(client: httpx.Client) -> None:
    run = client.post("/v1/runs", json={"text": "How?"}).json()["run"]
    for address in (f"/v1/runs/{run}", f"/v1/runs/{run}/trail"):
        theirs = problem(client.get(address, headers=BEN), 404, "SG603")
        nobodys = problem(client.get(address.replace(run, "f" * 24), headers=BEN), 404, "SG603")
        # an id that exists looks like one that does not
        assert theirs["detail"].replace(run, "") == nobodys["detail"].replace("f" * 24, "")
    problem(client.post(f"/v1/runs/{run}/feedback", json={"name": "helpful", "value": True}, headers=BEN), 404, "SG603")
    assert client.get(f"/v1/runs/{run}", headers={"x-user": "olga", "x-roles": "auditor"}).status_code == 200
    problem(client.get(f"/v1/runs/{run[:10]}"), 404, "SG603")


@pytest.mark.slow
def test_what_people_write_hides_nothing_from_who_reads_it(client: httpx.Client) -> None:
    run = client.post("/v1/runs", json={"text": "access please"}).json()["run"]
    body = {"verdict": "reject", "reason": "not \u202enow\u0007\u2066"}
    assert "Not now." in client.post(f"/v1/approvals/{run}", json=body, headers=LEAD).json()["reason"]
    endless = b'{"name": "helpful", "value": 1e999}'
    address, kind = f"/v1/runs/{run}/feedback", {"content-type": "application/json"}
    problem(client.post(address, content=endless, headers=kind), 422, "SG622")


@pytest.mark.slow
def test_feedback_is_a_score_of_the_run(client: httpx.Client, own_home: Path) -> None:
    run = client.post("/v1/runs", json={"text": "How?"}).json()["run"]
    address = f"/v1/runs/{run}/feedback"
    given = client.post(address, json={"name": "helpful", "value": False, "comment": "too short"})
    assert given.status_code == 201
    assert client.post(address, json={"name": "correct_intent", "value": "rules"}).status_code == 201
    problem(client.post(address, json={"name": "correct_intent", "value": "nonsense"}), 422, "SG622")
    problem(client.post(address, json={"name": "approval", "value": "approve"}), 422, "SG622")
    problem(client.post(address, json={"name": "check_pii", "value": True}), 422, "SG622")
    store = Store(own_home / "store.sqlite")
    kept = {score["name"]: score for score in store.scores(run) if score["source"] == "feedback"}
    assert (kept["helpful"]["value"], kept["helpful"]["comment"]) == (False, "too short")
    assert [row["label"] for row in store.corrections("shadow-evaluation")] == ["rules"]
    store.close()


@pytest.mark.slow
def test_progress_comes_as_events_and_ends_with_the_result(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/runs", json={"text": "How?", "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [tuple(block.split("\n")) for block in response.read().decode().strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in events]
    assert names == ["run", *["step"] * 7, "result"]
    said = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [step["node"] for step in said[1:-1]][:3] == ["classify", "gate", "recall"]
    assert said[0]["run"] == said[-1]["run"]
    assert "Version 1" not in str(said[:-1])
    with client.stream("POST", "/v1/runs", json={"text": "\u200b", "stream": True}) as response:
        response.read()
    # nothing was begun
    problem(response, 422, "SG601")


@pytest.mark.slow
def test_what_has_passed_its_checks_comes_as_text_before_the_result() -> None:
    with (
        served(stand.service(PATTERN, open_version=summarising)) as client,
        client.stream("POST", "/v1/runs", json={"text": ASKED, "stream": True}) as response,
    ):
        blocks = response.read().decode().strip().split("\n\n")
    events = [tuple(block.split("\n")) for block in blocks]
    said = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]
    names = [name for name, _ in said]
    assert "".join(one["text"] for name, one in said if name == "text") == SENT
    assert said[-1][1]["answer"] == SUMMARY
    following = [one["node"] for name, one in said[names.index("text") :] if name == "step"]
    assert following == ["shorten", "check", "respond"], "sent while it was being written"


@pytest.mark.slow
def test_a_caller_that_hangs_up_leaves_a_run_that_goes_on(client: httpx.Client) -> None:
    body = {"text": "hold", "request_id": "hung-up"}
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/runs", json=body, timeout=httpx.Timeout(60, read=0.2))
    with client.stream("POST", "/v1/runs", json={**body, "request_id": "closed", "stream": True}) as response:
        next(response.iter_lines())
    stand.let_go()
    runs = [run_id("shadow-evaluation", ANN, name) for name in ("hung-up", "closed")]
    for run in runs:
        # found by its id, not asked for again
        assert ended(client, run) == "answered"


@pytest.mark.slow
def test_what_takes_long_is_said_to_go_on() -> None:
    with served(stand.service(limits=Limits(timeout_s=0.2))) as client:
        response = client.post("/v1/runs", json={"text": "hold"})
        assert (response.status_code, response.json()["status"]) == (202, "running")
        address = response.headers["location"]
        assert client.get(address).json()["status"] == "running"
        stand.let_go()
        assert ended(client, address.rsplit("/", 1)[1]) == "answered"


@pytest.mark.slow
def test_too_many_are_turned_away_with_a_time_to_come_back() -> None:
    with served(stand.service(limits=Limits(running=1, waiting=1, per_principal=1))) as client:
        took: list[int] = []
        inside = [
            threading.Thread(
                target=lambda who=who: took.append(
                    client.post("/v1/runs", json={"text": "hold"}, headers={"x-user": who}).status_code
                )
            )
            for who in ("ann", "ben")
        ]
        for thread in inside:
            thread.start()
        until(lambda: client.get("/readyz").json()["inside"] == 2)
        mine = client.post("/v1/runs", json={"text": "me again"}, headers={"x-user": "ann"})
        problem(mine, 429, "SG620")
        full = client.post("/v1/runs", json={"text": "and me"}, headers={"x-user": "eve"})
        problem(full, 503, "SG620")
        assert (mine.headers["retry-after"], full.headers["retry-after"]) == ("1", "2")
        # what asks nothing of the models is answered meanwhile
        assert client.get("/healthz").json() == {"status": "up"}
        assert client.get("/readyz").json()["inside"] == 2
        stand.let_go()
        for thread in inside:
            thread.join()
        assert took == [200, 200]


@pytest.mark.slow
def test_bodies_that_do_not_fit() -> None:
    with served(stand.service(limits=Limits(body_bytes=2000))) as client:
        problem(client.post("/v1/runs", json={"text": "x" * 3000}), 413, "SG622")

        def parts() -> Iterator[bytes]:
            yield from [b"x" * 1500] * 3

        problem(client.post("/v1/runs", content=parts(), headers={"content-type": "application/json"}), 413, "SG622")
        problem(client.post("/v1/runs", content=b"text=hello"), 415, "SG622")
        problem(client.post("/v1/runs", content=b"{", headers={"content-type": "application/json"}), 422, "SG622")
        wrong = problem(client.post("/v1/runs", json={"text": 5, "extra": "my secret words"}), 422, "SG622")
        assert "text: " in wrong["detail"]
        assert "my secret words" not in json.dumps(wrong)
        problem(client.post("/v1/runs", json={"text": "\u200b"}), 422, "SG601")
        problem(client.get("/v1/nothing"), 404, "SG622")
        assert (
            wrong["hint"]
            == "Allowed fields: text, workflow, attachments, request_id, session, principal, priority, stream"
        )
        assert "POST" in problem(client.delete("/v1/runs"), 405, "SG622")["hint"]
        problem(client.post("/v1/runs/", json={"text": "How?"}), 404, "SG622")


@pytest.mark.slow
def test_what_fails_inside_is_told_by_its_code_and_not_its_words() -> None:
    service = stand.service()
    with served(service) as client:
        models, runner = FakeModels(fails=ValueError("the words of ann")), service.versions.serving.runner
        runner.services = replace(runner.services, models=models)
        said = problem(client.post("/v1/runs", json={"text": "How?", "request_id": "f"}), 500, "SG611")
        assert "the words of ann" not in json.dumps(said)
        assert client.get(f"/v1/runs/{said['run']}").json()["status"] == "failed"
        models.fails = ModelError("SG309", "no model at http://10.0.0.7")
        said = problem(client.post("/v1/runs", json={"text": "How?"}), 502, "SG309")
        assert "10.0.0.7" not in json.dumps(said)
        models.fails = None
        # the same id goes on where it failed
        assert client.post("/v1/runs", json={"text": "How?", "request_id": "f"}).json()["status"] == "answered"


@pytest.mark.slow
@pytest.mark.parametrize("code", ["SG625", "SG690"])
def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(
    code: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise RunError(code, "PostgreSQL db.internal:5432/runs failed")

    run = client.post("/v1/runs", json={"text": "access please"}).json()["run"]
    for method in ("accept", "find", "accept_decision", "trail"):
        monkeypatch.setattr(Service, method, away)
    call = {"model": "shadow-evaluation", "messages": [{"role": "user", "content": "How?"}]}
    for path, body in (
        ("/v1/runs", {"text": "How?", "request_id": "again"}),
        (f"/v1/approvals/{run}", {"verdict": "approve"}),
        (f"/v1/runs/{run}/trail", None),
    ):
        response = client.post(path, json=body, headers=LEAD) if body else client.get(path)
        said = problem(response, 503, code)
        assert (said["title"], response.headers["retry-after"]) == ("Service unavailable", "1")
        assert "db.internal" not in response.text
    response = client.post("/v1/chat/completions", json=call)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["sluicegate"]["code"] == code


@pytest.mark.slow
def test_every_operation_says_that_it_may_be_away(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    signed_in = [each for path in paths.values() for each in path.values() if "security" in each]
    assert len(signed_in) == 16
    assert [each["operationId"] for each in signed_in if "503" not in each["responses"]] == []


@pytest.mark.slow
def test_no_words_of_anybody_in_the_logs(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sluicegate")
    client.post("/v1/runs", json={"text": "Xylophone, how?"})
    client.get("/v1/runs/Xylophone?q=Xylophone")
    client.get("/Xylophone")
    client.post("/v1/runs", json={"text": ["Xylophone"]})

    def logged() -> list[dict[str, Any]]:
        return [json.loads(record.getMessage()) for record in caplog.records if record.name == "sluicegate.access"]

    until(lambda: len(logged()) == 4)
    lines = logged()
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/v1/runs", 200), ("/v1/runs/{id}", 404), ("", 404), ("/v1/runs", 422),
    ]  # fmt: skip
    assert len(lines[0]["run"]) == 24
    assert lines[0]["caller"] == Masking().user("ann") == lines[1]["caller"]
    assert lines[2]["caller"] == "", "who calls what is not there was not asked"
    assert "Xylophone" not in caplog.text


@pytest.mark.slow
def test_the_kill_switch_works_at_once(client: httpx.Client) -> None:
    assert client.post("/v1/runs", json={"text": "How?"}).json()["status"] == "answered"
    switch = KillSwitch()
    switch.off("workflow:shadow-evaluation", reason="an incident", by="ops")
    refused = client.post("/v1/runs", json={"text": "How?"}).json()
    assert refused["status"] == "refused"
    assert "switched off at the moment" in refused["reason"]
    assert "an incident" not in str(refused), "what operators write for each other stays with them"
    switch.on("workflow:shadow-evaluation")
    assert client.post("/v1/runs", json={"text": "How?"}).json()["status"] == "answered"


@pytest.mark.slow
def test_the_document_describes_what_is_said(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/v1/runs", "/v1/runs/{id}", "/v1/runs/{id}/trail", "/v1/runs/{id}/answer", "/v1/runs/{id}/feedback",
        "/v1/approvals", "/v1/approvals/{id}", "/v1/approvals/{id}/links", "/v1/conversations", "/v1/turns",
        "/v1/workflows", "/healthz", "/readyz", "/v1/models", "/v1/models/{model}", "/v1/chat/completions",
        "/v1/responses",
    }  # fmt: skip

    def fits(response: httpx.Response, path: str, method: str = "get") -> None:
        said = document["paths"][path][method]["responses"][str(response.status_code)]["content"]
        schema = said[response.headers["content-type"].split(";")[0]]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())

    answered = client.post("/v1/runs", json={"text": "How?"})
    run = answered.json()["run"]
    fits(answered, "/v1/runs", "post")
    waits = client.post("/v1/runs", json={"text": "access please"})
    fits(waits, "/v1/runs", "post")
    fits(client.post("/v1/runs", json={}), "/v1/runs", "post")
    fits(client.get(f"/v1/runs/{run}"), "/v1/runs/{id}")
    fits(client.get("/v1/runs/none"), "/v1/runs/{id}")
    fits(client.get(f"/v1/runs/{run}/trail"), "/v1/runs/{id}/trail")
    feedback = client.post(f"/v1/runs/{run}/feedback", json={"name": "stars", "value": 4})
    fits(feedback, "/v1/runs/{id}/feedback", "post")
    fits(client.get("/v1/approvals", headers=LEAD), "/v1/approvals")
    address = f"/v1/approvals/{waits.json()['run']}"
    fits(client.get(address, headers=LEAD), "/v1/approvals/{id}")
    fits(client.post(address, json={"verdict": "approve"}, headers=LEAD), "/v1/approvals/{id}", "post")
    fits(client.get("/readyz"), "/readyz")
    fits(client.get("/healthz"), "/healthz")
    fits(client.get("/v1/workflows"), "/v1/workflows")
    fits(client.get("/v1/models"), "/v1/models")
    fits(client.get("/v1/models/gpt-5"), "/v1/models/{model}")
    call = {"model": "shadow-evaluation", "messages": [{"role": "user", "content": "access please"}]}
    fits(client.post("/v1/chat/completions", json=call), "/v1/chat/completions", "post")
    fits(client.post("/v1/chat/completions", json={**call, "n": 2}), "/v1/chat/completions", "post")
    fits(client.post("/v1/responses", json={**call, "input": "How?", "messages": None}), "/v1/responses", "post")


@pytest.mark.slow
def test_readiness_says_what_is_not_sent_and_when_a_server_last_took_nothing() -> None:
    with Receiver(status=500) as langfuse:
        sender = LangfuseSender(Keys(PUBLIC, SECRET, langfuse.url))
        exporter = QueuedExporter(sender, linger_s=0, first_pause_s=0.01, attempts=1000)
        opened = partial(stand.version, exporters=[exporter])
        with served(stand.service(open_version=opened)) as client:

            def export() -> dict[str, Any]:
                [one] = client.get("/readyz").json()["workflows"]
                return one["exports"][0]

            assert export() == {"to": "langfuse", "unsent": 0, "last_outage": None}
            client.post("/v1/runs", json={"text": "How?"})
            until(lambda: export()["last_outage"])
            assert export()["unsent"] > 0
            assert client.get("/readyz").status_code == 200
            langfuse.status = 0
            until(lambda: export()["unsent"] == 0)
            assert datetime.fromisoformat(export()["last_outage"]).tzinfo is not None
            assert langfuse.spans


@pytest.mark.slow
async def test_readiness_says_how_far_it_is_with_the_store_of_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "site", str(tmp_path / "store"))
    site.write("one")
    await site.machine("writer").ingest()
    retriever = site.machine("server").retriever()
    opened = stand.version

    def with_store(*given: Any, **named: Any) -> Any:
        return replace(opened(*given, **named), retriever=retriever)

    with served(stand.service(open_version=with_store)) as client:

        def stored() -> Any:
            [one] = client.get("/readyz").json()["workflows"]
            return one["stored"]

        assert stored() == []
        retriever.version("kb")
        [said] = stored()
        assert (said["index"], said["version"], said["stale"]) == ("kb", 1, False)
        assert datetime.fromisoformat(said["confirmed"]).tzinfo is not None
        monkeypatch.setattr(Path, "read_bytes", denied)
        until(lambda: stored()[0]["stale"])
        monkeypatch.undo()
    retriever.close()


def denied(_path: Path) -> bytes:
    raise PermissionError(13, "Permission denied")


# --- who calls ---


@pytest.mark.slow
def test_without_a_token_nothing_is_said(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    ann = file.add("ann", Named(id="ann", roles=["employee"]))
    portal = file.add("portal", Named(id="portal"), claims=Claims(roles=["helpdesk-lead"]))
    with served(callers=file) as client:
        for headers in ({}, {"authorization": "Bearer sg_wrong"}, {"authorization": f"Basic {ann}"}):
            response = client.post("/v1/runs", json={"text": "How?"}, headers=headers)
            problem(response, 401, "SG619")
            assert response.headers["www-authenticate"] == "Bearer"
            problem(client.get("/v1/approvals", headers=headers), 401, "SG619")
            problem(client.get("/v1/runs/x/trail", headers=headers), 401, "SG619")
        assert client.get("/healthz").status_code == 200
        mine = {"authorization": f"Bearer {ann}"}
        run = client.post("/v1/runs", json={"text": "How?"}, headers=mine).json()["run"]
        assert client.get(f"/v1/runs/{run}", headers=mine).status_code == 200
        # a header that is believed elsewhere is nothing here, and nobody says of themselves who they are
        assert client.get(f"/v1/runs/{run}", headers={**mine, "x-user": "ben"}).status_code == 200
        chief = {"text": "How?", "principal": {"id": "chief", "roles": ["helpdesk-lead"]}}
        problem(client.post("/v1/runs", json=chief, headers=mine), 403, "SG610")
        app = {"authorization": f"Bearer {portal}"}
        auditor = {"text": "How?", "principal": {"id": "chief", "roles": ["auditor"]}}
        problem(client.post("/v1/runs", json=auditor, headers=app), 403, "SG610")
        run = client.post("/v1/runs", json=chief, headers=app).json()["run"]
        problem(client.get(f"/v1/runs/{run}", headers=mine), 404, "SG603")
        # taken out, it is refused at the next call
        file.revoke("ann")
        problem(client.get(f"/v1/runs/{run}", headers=mine), 401, "SG619")


@pytest.mark.slow
def test_everybody_may_be_one_person_on_ones_own_machine() -> None:
    with served(callers=FixedCaller(principal("ann", ["employee"]))) as client:
        assert client.post("/v1/runs", json={"text": "How?"}, headers={"x-user": ""}).status_code == 200
        port = client.base_url.port
        for host in (
            "localhost",
            f"localhost:{port}",
            f"LocalHost:{port}",
            f"127.0.0.1:{port}",
            f"[::1]:{port}",
            "[::1]",
        ):
            assert client.get("/v1/approvals", headers={"host": host}).status_code == 200, host
        # a page of this name whose address is ours now
        for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", ""):
            for path in ("/v1/approvals", "/openapi.json", "/healthz"):
                problem(client.get(path, headers={"host": host}), 421, "SG622")


@pytest.mark.slow
def test_a_request_may_bring_a_table(client: httpx.Client) -> None:
    table = {"positions.csv": "what;room\nBeamer;1.12\n"}
    body = {"text": "Order these", "request_id": "r-1", "attachments": table}
    run = client.post("/v1/runs", json=body).json()["run"]
    assert client.post("/v1/runs", json=body).json()["run"] == run
    other = {**body, "attachments": {"positions.csv": "what;room\nDesk;1.12\n"}}
    problem(client.post("/v1/runs", json=other), 409, "SG621")
    problem(client.post("/v1/runs", json={**body, "attachments": {"a.pdf": "%PDF"}}), 422, "SG638")
    problem(
        client.post("/v1/runs", json={"text": "a", "attachments": {"a.csv": "a\n" + "x\n" * 100_000}}), 413, "SG602"
    )
    four = {f"{n}.csv": "a\n1\n" for n in range(4)}
    problem(client.post("/v1/runs", json={"text": "a", "attachments": four}), 422, "SG622")
