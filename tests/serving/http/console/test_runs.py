"""The pages of runs over plain HTTP: what each person sees, filters, cursors, the stream of changes, feedback."""

import json
import re
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.graphs.session.reading_rights import ReadingRights
from sluicegate.home import home
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.http.callers import Named, TokenFile
from sluicegate.serving.http.console.pages.records import listing
from tests.support.console import SAME, csrf
from tests.support.console_runs import OPERATOR, nothing_withheld, recorded
from tests.support.recorded_runs import BEGAN_NS, begin, end
from tests.support.stand import served, service

NAME = "shadow-evaluation"
SECRET = "quoted from a secret"
ANN, BEN = {"x-user": "ann"}, {"x-user": "ben"}


def run_id(number: int) -> str:
    return f"{number:024x}"


@pytest.fixture(scope="module")
def client(own_home: Path) -> Iterator[httpx.Client]:
    with served(service()) as client:
        yield client


@pytest.fixture(autouse=True)
def empty(client: httpx.Client) -> None:
    client.cookies.clear()
    with closing(sqlite3.connect(home() / "store.sqlite")) as connection, connection:
        for table in ("runs", "packed_spans", "scores", "changes"):
            connection.execute(f"DELETE FROM {table}")


@contextmanager
def store() -> Generator[Store]:
    with closing(Store(home() / "store.sqlite")) as opened:
        yield opened


def listed(page: httpx.Response) -> list[str]:
    assert page.status_code == 200, page.text
    return re.findall(r'<tr id="run-([^"]+)"', page.text)


def ended(number: int, user: str = "ann", *, workflow: str = NAME, status: str = "answered", **outcome: Any) -> str:
    with store() as opened:
        info = begin(
            opened, run_id(number), at_ns=BEGAN_NS + number, user=Masking().user(user), workflow=workflow,
            request=f"Request {number}",
        )  # fmt: skip
        end(opened, info, status=status, **outcome)
    return info.run_id


@pytest.mark.slow
def test_everybody_sees_what_policy_lets_them_see(client: httpx.Client) -> None:
    hers, his = ended(1, "ann"), ended(2, "ben")
    ended(3, workflow="of-another-server")
    assert listed(client.get("/console/runs", headers=OPERATOR)) == [his, hers]
    assert listed(client.get("/console/runs", headers=ANN)) == [hers]
    assert listed(client.get("/console/runs", headers={"x-user": "nobody"})) == []
    assert "Person" not in client.get("/console/runs", headers=ANN).text
    for run in (his, run_id(3), run_id(99), "x", "1%20OR%201"):
        page = client.get(f"/console/runs/{run}", headers=ANN)
        assert (page.status_code, "that you may see" in page.text) == (404, True), run
        assert client.get("/console/runs", params={"run": run}, headers=ANN).status_code == 200
    assert client.get(f"/console/runs/{run_id(3)}", headers=OPERATOR).status_code == 404
    assert client.get(f"/console/runs/{hers}", headers=ANN).status_code == 200


@pytest.mark.slow
def test_filters_and_the_search_for_an_id(client: httpx.Client) -> None:
    first = ended(0xA1, path="cache", risk="low", usd=0.0)
    second = ended(0xA2, "ben", path="rag-llm", risk="high", intent="access", usd=0.5)
    third = ended(0xB3, status="failed")

    def found(**fields: str) -> list[str]:
        return listed(client.get("/console/runs", params=fields, headers=OPERATOR))

    assert found(path="cache") == found(person="ann", risk="low") == [first]
    assert found(usd_from="0.1") == found(person="ben") == found(intent="access", risk="high") == [second]
    assert found(status="failed") == [third]
    assert found(workflow="another") == found(to="2020-01-01T00:00") == []
    assert len(found(**{"from": "2020-01-01T00:00", "workflow": NAME})) == 3
    assert found(run=first[:-2] + "a") == [second, first]
    went = client.get("/console/runs", params={"run": f" {first} "}, headers=OPERATOR)
    assert (went.status_code, went.headers["location"]) == (303, f"/console/runs/{first}")
    page = client.get("/console/runs", params={"usd_from": "cheap", "from": "soon", "to": "9" * 30}, headers=OPERATOR)
    assert (len(listed(page)), page.text.count('aria-invalid="true"')) == (3, 3)
    assert "No run fits" in client.get("/console/runs", params={"path": "tool"}, headers=OPERATOR).text


@pytest.mark.slow
def test_pages_go_on_where_they_ended(client: httpx.Client) -> None:
    runs = [ended(number, path="cache") for number in range(60)]
    first = client.get("/console/runs?path=cache", headers=OPERATOR)
    older = re.search(r'href="([^"]*after=[^"]+)"', first.text)
    assert older
    ended(70, path="cache")
    second = client.get(older[1].replace("&amp;", "&"), headers=OPERATOR)
    assert listed(first) + listed(second) == runs[::-1]
    # what is older does not follow
    assert ("hx-sse:connect" in first.text, "hx-sse:connect" in second.text) == (True, False)
    assert ("Newest" in second.text, "Older" in second.text) == (True, False)


_PATIENCE = 24
"""Signs of life of a stream in which nothing else comes."""


class Stream:
    """Events of a stream, as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self, kind: str = "run") -> dict[str, Any]:
        """The next event, which is of this kind."""
        fields, idle = dict[str, str](), 0
        for line in self._lines:
            if line.startswith(":"):
                idle += 1
                assert idle < _PATIENCE, f"no {kind} came"
                continue
            if not line and fields:
                assert fields["event"] == kind, fields
                return {"id": fields.get("id", ""), **json.loads(fields["data"] or "{}")}
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        raise AssertionError("the stream has ended")

    def is_over(self) -> bool:
        return all(not line or line.startswith(":") for line in self._lines)


@contextmanager
def streaming(client: httpx.Client, address: str, headers: Mapping[str, str], **more: str) -> Generator[Stream]:
    with client.stream("GET", address, headers={**headers, **more}) as response:
        assert response.headers["content-type"].startswith("text/event-stream"), response.read()
        yield Stream(response)


def feed_of(client: httpx.Client, headers: Mapping[str, str], query: str = "") -> str:
    page = client.get(f"/console/runs{query}", headers=headers)
    found = re.search(r'hx-sse:connect="([^"]+)"', page.text)
    assert found
    return found[1].replace("&amp;", "&")


def test_changes_come_in_order_and_a_stream_goes_on_where_it_broke_off(client: httpx.Client) -> None:
    feed = feed_of(client, OPERATOR)
    with store() as opened, streaming(client, feed, OPERATOR) as stream:
        info = begin(opened, run_id(1), workflow=NAME, user="x", request="<b>bold</b>")
        begun = stream.next()
        assert (begun["run"], ">running<" in begun["row"]) == (run_id(1), True)
        assert "&lt;b&gt;bold" in begun["row"]
        end(opened, info)
        assert ">answered<" in stream.next()["row"]
    with store() as opened:
        begin(opened, run_id(2), workflow=NAME)
        begin(opened, run_id(3), workflow=NAME)
    with streaming(client, feed, OPERATOR, **{"last-event-id": begun["id"]}) as stream:
        events = [stream.next() for _ in range(3)]
        assert [each["run"] for each in events] == [run_id(1), run_id(2), run_id(3)]
        assert [int(each["id"]) for each in events] == sorted(int(each["id"]) for each in events)


def test_a_viewer_is_told_of_what_they_may_see_and_what_leaves_their_list(client: httpx.Client) -> None:
    user = Masking().user
    with store() as opened:
        feed = feed_of(client, ANN, "?status=running")
        with streaming(client, feed, ANN) as stream:
            begin(opened, run_id(1), workflow=NAME, user=user("ben"))
            begin(opened, run_id(2), workflow=NAME, user=user("ann"), shadow=True)
            begin(opened, run_id(3), workflow="of-another-server", user=user("ann"))
            info = begin(opened, run_id(4), workflow=NAME, user=user("ann"))
            shown = stream.next()
            assert (shown["run"], bool(shown["row"])) == (run_id(4), True)
            end(opened, info)
            assert stream.next() | {"id": ""} == {"id": "", "run": run_id(4), "row": ""}


@pytest.mark.slow
def test_who_was_away_too_long_reads_the_list_anew(client: httpx.Client) -> None:
    with store() as opened:
        for number in range(1100):
            begin(opened, run_id(number), workflow=NAME)
    with streaming(client, "/console/runs/changes?since=1", OPERATOR) as stream:
        anew = stream.next("anew")
    page = client.get("/console/runs", headers={**OPERATOR, "hx-request": "true"})
    assert page.text.lstrip().startswith('<div id="runs"')
    assert "<form" not in page.text
    assert feed_of(client, OPERATOR).endswith(f"since={anew['id']}")


@pytest.mark.slow
def test_a_stream_ends_with_its_session(client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_CHECK_S", 0.05)
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.add("olga", Named(id="olga", roles=["operator"]))
    with served(callers=tokens) as other:
        other.headers = httpx.Headers(SAME)
        assert other.get("/console/runs/changes").status_code == 303
        page = other.get("/console/sign-in")
        other.post("/console/sign-in", data={"csrf": csrf(page), "token": token, "next": "/console"})
        with store() as opened, streaming(other, feed_of(other, {}), {}) as stream:
            begin(opened, run_id(1), workflow=NAME)
            assert stream.next()["run"] == run_id(1)
            tokens.revoke("olga")
            stream.next("end")
            begin(opened, run_id(2), workflow=NAME)
            assert stream.is_over()


def words(page: httpx.Response) -> str:
    assert page.status_code == 200, page.text
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.text)))


@pytest.mark.slow
def test_one_run_is_told_with_its_way_and_why(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")
    monkeypatch.setenv("LANGFUSE_HOST", "https://langfuse.example")
    client.post("/v1/runs", json={"text": "How do I reset it?"})  # keeps the version that runs
    recorded(run_id(5), "some words")
    page = client.get(f"/console/runs/{run_id(5)}", headers=OPERATOR)
    text = words(page)
    for part in (
        "answered", "some words", "classify → gate", "facts → answer", "intent.label != 'some words' held",
        "Passed over", "refuse", "fake:slm slm 11 7 $0.2500", "grounded output human", "some words@2",
        "11 read, 7 written", "60.00 s for a person, who said: approve", f"{run_id(5)}-child", "grounded",
    ):  # fmt: skip
        assert part in text, part
    assert len(re.findall(r'class="sg-node [^"]*sg-taken', page.text)) == 3
    assert re.search(r'class="sg-edge sg-taken" data-from="facts" data-to="answer"', page.text)
    assert 'href="https://langfuse.example/trace/' in page.text
    assert "<style" not in page.text
    waiting = client.post("/v1/runs", json={"text": "access please"}).json()["run"]
    own = client.get(f"/console/runs/{waiting}")
    assert (f'href="/console/approvals/{waiting}"' in own.text, "sg-current" in own.text) == (True, True)


@pytest.mark.slow
def test_texts_that_rest_on_documents_are_withheld_from_who_may_not_read_them(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(run_id(6), SECRET, documents=True)
    page = client.get(f"/console/runs/{run_id(6)}", headers=OPERATOR)
    assert "policy does not let olga read 1 of the 1 passages" in page.text
    quoted = [f"{name}: {SECRET}" for name in ("title", "output", "result", "query")] + [
        f"Answer {SECRET}",
        f"{SECRET}@2",
    ]
    text = words(page).replace('"', "")
    assert [each for each in quoted if each in text] == []
    monkeypatch.setattr(ReadingRights, "withheld", nothing_withheld)
    text = words(client.get(f"/console/runs/{run_id(6)}", headers=OPERATOR)).replace('"', "")
    assert [each for each in quoted if each not in text] == ["result: " + SECRET], "it is in an object"


def test_secrets_stay_masked(client: httpx.Client) -> None:
    recorded(run_id(7), "my password is: hunter2hunter2")
    page = client.get(f"/console/runs/{run_id(7)}", headers=OPERATOR)
    assert [line for line in page.text.splitlines() if "hunter2" in line] == []
    assert ("hunter2" in page.text, "&lt;password&gt;" in page.text) == (False, True)
    assert "hunter2" not in client.get("/console/runs", headers=OPERATOR).text


@pytest.mark.slow
def test_feedback_is_given_once_and_only_by_who_sees_the_run(client: httpx.Client) -> None:
    run = recorded(run_id(8))
    address = f"/console/runs/{run}"
    page = client.get(address)
    given = {"csrf": csrf(page), "given": "0", "right": "no", "intent": "mail", "comment": "it was <i>not</i>"}

    def send(**fields: str) -> httpx.Response:
        return client.post(f"{address}/feedback", data={**given, **fields}, headers=SAME)

    assert send(intent="none of them").status_code == 422
    assert send(right="", intent="").status_code == 422
    assert send(comment="x" * 2001).status_code == 422
    done = send()
    assert done.status_code == 303, words(done)
    assert (done.status_code, done.headers["location"]) == (303, f"{address}#feedback")
    assert [send().status_code for _ in range(3)] == [409] * 3
    with store() as opened:
        scores = [(each["name"], each["value"], each["comment"], each["by"]) for each in opened.scores(run)]
    assert scores[1:] == [
        ("thumb", False, "it was <i>not</i>", Masking().user("ann")),
        ("correct_intent", "mail", "", Masking().user("ann")),
    ]
    assert "it was &lt;i&gt;not&lt;/i&gt;" in client.get(address).text
    other = client.post(f"{address}/feedback", data=given, headers={**SAME, **BEN})
    assert other.status_code in (403, 404)
    page = client.get("/console/runs", headers=BEN)
    assert client.post(f"{address}/feedback", data={**given, "csrf": given["csrf"]}, headers=BEN).status_code == 403
    forged = client.post(f"{address}/feedback", data={**given, "csrf": "x"}, headers=SAME)
    assert (forged.status_code, len(scores)) == (403, 3)
