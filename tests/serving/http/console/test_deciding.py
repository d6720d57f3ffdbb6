"""Decisions over plain HTTP: what is shown to whom, and that each form has one effect, or none."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.graphs.session.checkpoint_reader import approval_state
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.versions import Versions
from sluicegate.storage.database import SqliteRows
from tests.support.console import LEAD, SAME, Desk, ask, csrf, decided, form, send
from tests.support.recorded_runs import many
from tests.support.stand import served, service
from tests.support.waiting import until

KIM = {"x-user": "kim", "x-roles": "helpdesk-lead"}
FORGED = 1_000


@pytest.fixture(scope="module")
def client(own_home: Path) -> Iterator[httpx.Client]:
    with served(service(open_version=Desk())) as client:
        yield client


@pytest.fixture(autouse=True)
def no_session(client: httpx.Client) -> None:
    client.cookies.clear()


def shown(page: httpx.Response) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.text))


def ended(client: httpx.Client, run: str) -> dict[str, str]:
    until(lambda: client.get(f"/v1/runs/{run}").json()["status"] not in ("waiting", "running"))
    return client.get(f"/v1/runs/{run}").json()


@pytest.mark.slow
def test_the_inbox_has_what_waits_for_the_viewer_longest_first(client: httpx.Client) -> None:
    runs = [ask(client, f"How do I reset {number}?") for number in range(3)]
    page = client.get("/console", headers=LEAD)
    places = [page.text.index(f"/console/approvals/{run}") for run in runs]
    assert places == sorted(places)
    assert "/console/approvals/" not in client.get("/console", headers={"x-user": "ann"}).text
    part = client.get("/console", headers={**LEAD, "hx-request": "true"}).text
    assert part.lstrip().startswith('<div id="inbox"')
    assert "<form" not in part


@pytest.mark.slow
def test_a_page_that_was_read_while_the_run_went_on_shows_the_decision(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ask(client)
    before = approval_state(run)
    assert before.open
    assert send(client, run, {**form(client, run), "verdict": "reject"}).status_code == 303
    assert ended(client, run)["status"] == "refused"
    monkeypatch.setattr("sluicegate.serving.reading.approval_state", lambda _: before)
    for page in ("", "/standing"):
        assert "You rejected this." in shown(client.get(f"/console/approvals/{run}{page}", headers=LEAD))


@pytest.mark.slow
def test_an_inbox_is_read_page_by_page(own_home: Path) -> None:
    with served(service(open_version=Desk())) as client:
        before = re.findall(r"/console/approvals/(\w+)", client.get("/console", headers=LEAD).text)
        runs = [ask(client, f"How do I reset {number}?", f"user-{number}") for number in range(27)]
        seen, address = list[str](), "/console"
        while address:
            page = client.get(address, headers=LEAD).text
            seen += re.findall(r"/console/approvals/(\w+)", page)
            (refreshed,) = re.findall(r'hx-get="([^"]+)"', page)
            assert refreshed == address
            found = re.search(r'href="([^"]+)">Next page', page)
            address = found[1] if found else ""
        assert seen == [*before, *runs]
        assert client.get("/console?after=%3Cx%3E", headers=LEAD).status_code == 422


@pytest.fixture
def reads(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, int]]:
    """How many statements a page takes, and how many rows it reads."""
    read = [0, 0]
    execute = SqliteRows.__call__

    def counted(rows: SqliteRows, sql: str, parameters: Any = ()) -> Any:
        found = execute(rows, sql, parameters)
        read[0] += 1
        read[1] += len(found)
        return found

    # what goes on by itself reads, too
    monkeypatch.setattr(Versions, "refresh", lambda self: False)
    monkeypatch.setattr(SqliteRows, "__call__", counted)

    def counts(address: str, headers: dict[str, str] = LEAD) -> tuple[int, int]:
        read[:] = 0, 0
        assert client.get(address, headers=headers).status_code == 200
        return read[0], read[1]

    return counts


@pytest.mark.slow
def test_what_a_page_reads_does_not_grow_with_the_runs_that_are_over(
    client: httpx.Client, reads: Callable[..., tuple[int, int]]
) -> None:
    run = ask(client)
    addresses = ("/console", f"/console/approvals/{run}", f"/console/approvals/{run}/standing")
    before = [reads(address) for address in addresses]
    assert min(rows for _, rows in before) > 0
    with closing(Store(home() / "store.sqlite")) as store:
        many(store, 10_000)
    assert [reads(address) for address in addresses] == before


@pytest.mark.slow
def test_of_what_waits_for_others_little_is_read(client: httpx.Client, reads: Callable[..., tuple[int, int]]) -> None:
    before = reads("/console", {"x-user": "ben"})
    for number in range(5):
        ask(client, f"How do I reset {number}?")
    after = reads("/console", {"x-user": "ben"})
    # what each was interrupted with, and its place among those that wait
    assert (after[0] - before[0], after[1] - before[1]) == (5, 10)


def test_no_text_of_a_run_is_in_the_log_or_an_address(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = ask(client, "How do I reset the xylophone?")
        fields = {**form(client, run), "text": "Reset the marimba.", "reason": "Because of the vibraphone."}
        send(client, run, fields, to="/edit")
        done = send(client, run, {**fields, "verdict": "edit"})
        ended(client, run)
    lines = [json.loads(record.message) for record in caplog.records if record.name == "sluicegate.access"]
    assert {"/console/approvals/{id}", "/console/approvals/{id}/edit"} <= {line["route"] for line in lines}
    assert run in {line["run"] for line in lines}
    told = f"{caplog.text} {done.headers['location']}"
    assert not re.search("xylophone|marimba|vibraphone|portal", told)


@pytest.mark.slow
def test_what_is_put_to_somebody_is_all_they_need(client: httpx.Client) -> None:
    run = ask(client)
    page = client.get(f"/console/approvals/{run}", headers=LEAD)
    assert '<a href="#passage-[1]" aria-label="Source [1]">[1]</a>' in page.text
    text = shown(page)
    for part in (
        "How do I reset it?", "question (90.0 % sure) low risk", "Reset it in the portal.", "Passwords kb-1, version 2",
        "grounded grounded says no human", "role:helpdesk-lead (not ann, who asked)", "min", "checks failed: grounded",
    ):  # fmt: skip
        assert part in text, part
    # the trail is for those who may see the run
    assert "Policy does not let you see the trail" in text
    operator = {"x-user": "lea", "x-roles": "helpdesk-lead,operator"}
    seeing = client.get(f"/console/approvals/{run}", headers=operator)
    assert "check → synthesize failed held" in shown(seeing)
    address = f"/console/runs/{run}"
    assert (f'href="{address}"' in seeing.text, f'href="{address}"' in page.text) == (True, False)
    assert client.get(address, headers=operator).status_code == 200


def test_others_are_told_nothing(client: httpx.Client) -> None:
    run = ask(client)
    for address in (f"/console/approvals/{run}", f"/console/approvals/{'f' * 24}"):
        for path in (address, f"{address}/standing", f"{address}/edit"):
            page = client.get(path, headers={"x-user": "ben"})
            assert (page.status_code, "no run" in page.text, "reset it" in page.text) == (404, True, False)
    # who asked may see it, and not decide
    own = client.get(f"/console/approvals/{run}", headers={"x-user": "ann", "x-roles": "helpdesk-lead"})
    assert (own.status_code, "ann asked this and may not decide on it" in own.text) == (403, True)


@pytest.mark.slow
def test_what_rests_on_a_document_that_they_may_not_read_is_withheld(client: httpx.Client) -> None:
    with served(service(open_version=Desk(forbidden=frozenset({"kb-1"})))) as other:
        run = ask(other)
        found = other.get(f"/console/approvals/{run}", headers=LEAD)
        page, asked = shown(found), re.search(r'Asked at</dt><dd><time datetime="([^"]+)"', found.text)
        assert "policy does not let lea read 1 of the 1 passages that this rests on" in page
        assert ("Reset it" in page, "Passwords" in page, "Approve" in page) == (False, False, False)
        assert asked
        refused = send(other, run, {**form_of_session(other), "asked_at": asked[1], "verdict": "approve"})
        assert (refused.status_code, decided(run)) == (403, [])


def form_of_session(client: httpx.Client) -> dict[str, str]:
    return {"csrf": csrf(client.get("/console", headers=LEAD))}


def test_an_edit_is_seen_before_it_is_sent(client: httpx.Client) -> None:
    run = ask(client)
    fields = {**form(client, run), "text": "Reset it yourself, in the portal.", "reason": "Plainer."}
    preview = send(client, run, fields, to="/edit")
    assert "Reset it<ins> yourself,</ins> in the portal<del> [1]</del>." in preview.text
    assert decided(run) == []
    done = send(client, run, {**fields, "verdict": "edit"})
    assert (done.status_code, done.headers["location"]) == (303, f"/console/approvals/{run}")
    result = ended(client, run)
    assert (result["status"], result["answer"]) == ("answered", "Reset it yourself, in the portal.")
    assert "You edited and sent this. Reason: Plainer." in shown(client.get(f"/console/approvals/{run}", headers=LEAD))


@pytest.mark.parametrize(
    ("to", "fields", "status", "told"),
    [
        ("/edit", {"text": " "}, 422, "Write the text to send"),
        ("/edit", {"text": "Reset it in the portal [1]."}, 422, "Nothing was changed"),
        ("/edit", {"text": "x" * 200_001}, 422, "The text has more than 200,000 characters"),
        ("", {"verdict": "edit", "text": " "}, 422, "an edit of a draft needs a text"),
        ("", {"verdict": "approve", "reason": "x" * 2001}, 422, "The reason has more than 2,000 characters"),
        ("", {"verdict": "maybe"}, 422, "is no verdict"),
        ("", {"verdict": "approve", "changed": "x"}, 422, "changed is one of"),
        ("", {"verdict": "edit", "arguments": "[]"}, 422, "arguments are a JSON object"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_lost(
    client: httpx.Client, to: str, fields: dict[str, str], status: int, told: str
) -> None:
    run = ask(client)
    page = send(client, run, {**form(client, run), "reason": "Kept as typed.", **fields}, to=to)
    assert (page.status_code, told in page.text, decided(run)) == (status, True, [])
    if "reason" not in fields and "Bad" not in page.text and "<textarea" in page.text:
        assert "Kept as typed." in page.text


@pytest.mark.slow
def test_the_second_is_told_who_decided_what(client: httpx.Client) -> None:
    run = ask(client)
    hers = form(client, run)
    client.cookies.clear()
    kims = form(client, run, KIM)
    assert send(client, run, {**kims, "verdict": "reject", "reason": "No."}, KIM).status_code == 303
    ended(client, run)
    # the part that follows what happens, while she still writes
    client.cookies.clear()
    follows = client.get(f"/console/approvals/{run}/standing", headers=LEAD).text
    assert ("kim rejected this" in follows, "<form" in follows) == (True, False)
    hers = {**hers, **form_of_session(client)}
    late = send(client, run, {**hers, "verdict": "approve"})
    assert late.status_code == 409
    assert "This was decided before your click arrived" in late.text
    assert "kim rejected this. Reason: No." in shown(late)
    assert decided(run) == ["reject"]


def test_a_form_decides_on_what_it_showed_and_on_nothing_later(client: httpx.Client) -> None:
    run = ask(client)
    fields = {**form(client, run), "asked_at": "2020-01-01T00:00:00+00:00", "verdict": "approve"}
    page = send(client, run, fields)
    assert (page.status_code, "The run asks something else by now" in page.text, decided(run)) == (409, True, [])


@pytest.mark.slow
def test_doubled_clicks_have_one_effect(client: httpx.Client) -> None:
    before = len(decided())
    with ThreadPoolExecutor(4) as pool:
        for number in range(25):
            run = ask(client)
            client.cookies.clear()
            clicked = {**form(client, run), "verdict": ("approve", "reject")[number % 2]}
            clicks = [pool.submit(send, client, run, clicked) for _ in range(4)]
            statuses = sorted(click.result().status_code for click in clicks)
            assert (statuses, len(decided(run))) == ([303, 409, 409, 409], 1)
    assert len(decided()) - before == 25


@pytest.mark.slow
def test_forged_forms_have_no_effect(client: httpx.Client) -> None:
    """Without a cookie, from elsewhere, with the token of another session or none, as something else than a form, sent
    again after they were used."""

    def cookie() -> dict[str, str]:
        ((name, sealed),) = client.cookies.items()
        client.cookies.clear()
        return {"cookie": f"{name}={sealed}"}

    used = ask(client)
    spent = {**form(client, used), "verdict": "approve"}
    assert send(client, used, spent).status_code == 303
    cookies = cookie()
    foreign = form(client, ask(client), KIM)
    kims = cookie()
    run = ask(client)
    good = {**form(client, run), "verdict": "approve"}
    hers, before = cookie(), decided()
    path = f"/console/approvals/{run}"

    def post(cookie: dict[str, str], fields: dict[str, str], headers: dict[str, str], to: str = path) -> httpx.Response:
        return client.post(to, data=fields, headers={**LEAD, **headers, **cookie})

    broken = {"cookie": hers["cookie"][:-4] + ("BBBB" if hers["cookie"].endswith("AAAA") else "AAAA")}
    forgeries = [
        lambda: post({}, good, SAME),
        lambda: post(broken, good, SAME),
        lambda: post(hers, good, {}),
        lambda: post(hers, good, {"sec-fetch-site": "cross-site"}),
        lambda: post(hers, good, {"sec-fetch-site": "same-site"}),
        lambda: post(hers, good, {"sec-fetch-site": "none"}),
        lambda: post(hers, good, {"origin": "https://evil.example"}),
        lambda: post(hers, good, {"origin": "null"}),
        lambda: post(hers, {**good, "csrf": ""}, SAME),
        lambda: post(hers, {**good, "csrf": foreign["csrf"]}, SAME),
        lambda: post(hers, {key: value for key, value in good.items() if key != "csrf"}, SAME),
        # her form with another's session, and another's session in her name
        lambda: post(kims, good, SAME),
        lambda: post(kims, {**good, "csrf": foreign["csrf"]}, SAME),
        lambda: client.post(path, json=good, headers={**LEAD, **SAME, **hers}),
        lambda: client.post(path, content=b"x", headers={**LEAD, **SAME, **hers, "content-type": "text/plain"}),
        lambda: client.get(path, params=good, headers={**LEAD, **hers, "sec-fetch-site": "cross-site"}),
        # one that was good once
        lambda: post(cookies, spent, SAME, f"/console/approvals/{used}"),
        lambda: post(cookies, spent, SAME),
    ]
    refused = {403, 409, 415}
    for forged in islice(cycle(forgeries), FORGED):
        answer = forged()
        client.cookies.clear()
        assert answer.status_code in refused or (answer.request.method, answer.status_code) == ("GET", 200)
    assert decided() == before
    assert client.get(f"/v1/runs/{run}").json()["status"] == "waiting"
    # the same form from the page itself
    assert post(hers, good, SAME).status_code == 303
    assert decided(run) == ["approve"]
