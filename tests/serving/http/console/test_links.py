"""The page of an approval link: the evidence, one decision, and one plain sentence for whatever is none."""

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from sluicegate import principal
from sluicegate.serving.links.links import revoke_link
from sluicegate.serving.links.rows import LinkRows
from tests.support.browser import PHONE, opened, violations
from tests.support.console import LEAD, SAME, Desk, ask, csrf, decided
from tests.support.stand import served, service
from tests.support.waiting import until

LEA = principal("lea", ["helpdesk-lead"])


@pytest.fixture(scope="module")
def client(own_home: Path) -> Iterator[httpx.Client]:
    with served(service(open_version=Desk())) as client:
        yield client


@pytest.fixture
def anybody(client: httpx.Client) -> Iterator[httpx.Client]:
    """Somebody who has not signed in."""
    with httpx.Client(base_url=client.base_url, timeout=60) as made:
        yield made


def link(client: httpx.Client, run: str) -> str:
    """The address of a link for lea, who makes it for herself."""
    made = client.post(f"/v1/approvals/{run}/links", json={}, headers=LEAD)
    assert made.status_code == 201, made.text
    return made.json()["path"]


def send(client: httpx.Client, path: str, verdict: str = "approve", **more: str) -> httpx.Response:
    fields = {"csrf": csrf(client.get(path)), "verdict": verdict, **more}
    return client.post(path, data=fields, headers=SAME)


def said(page: httpx.Response) -> str:
    found = re.search(r"<h1>(.*?)</h1>\s*<p dir=\"auto\">(.*?)</p>", page.text, re.DOTALL)
    assert found, page.text
    return f"{found[1]}: {found[2]}"


@pytest.mark.slow
def test_opening_a_link_shows_the_evidence_and_changes_nothing(
    client: httpx.Client, anybody: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    run = ask(client)
    path = link(client, run)
    caplog.set_level(logging.INFO, "sluicegate.access")
    for look in (anybody.get, anybody.head, anybody.get):
        page = look(path)
        assert page.status_code == 200
        assert page.headers.get_list("referrer-policy") == ["no-referrer"]
        assert page.headers["cache-control"] == "no-store"
    assert "Reset it in the portal" in page.text
    assert "standing" not in re.findall(r'hx-get="([^"]+)"', page.text)
    assert "/console/sign-out" not in page.text
    assert decided(run) == []
    # a line is written behind the answer that it is about
    until(lambda: len(_opened(caplog)) == 3)
    for line in _opened(caplog):
        assert path.rpartition("/")[2] not in line


def _opened(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the access log about the pages of links."""
    lines = [record.getMessage() for record in caplog.records if record.name == "sluicegate.access"]
    return [line for line in lines if '"route": "/console/approve/{token}"' in line]


@pytest.mark.slow
def test_a_link_decides_once(client: httpx.Client, anybody: httpx.Client) -> None:
    run = ask(client)
    path = link(client, run)
    done = send(anybody, path, reason="it is right")
    assert (done.status_code, said(done)) == (200, "Decided: You approved this. The link is used up.")
    again = anybody.get(path)
    assert (again.status_code, said(again)) == (410, "This link does nothing: This link was used already, to approve.")
    form = {"csrf": csrf(anybody.get(link(client, ask(client)))), "verdict": "reject"}
    assert anybody.post(path, data=form, headers=SAME).status_code == 410
    assert decided(run) == ["approve"]


@pytest.mark.slow
def test_an_edit_is_seen_before_it_is_sent(client: httpx.Client, anybody: httpx.Client) -> None:
    run = ask(client)
    path = link(client, run)
    fields = {"csrf": csrf(anybody.get(path)), "text": "Ask the desk."}
    preview = anybody.post(f"{path}/edit", data=fields, headers=SAME)
    assert "<ins>" in preview.text
    assert f'action="{path}"' in preview.text
    assert decided(run) == []
    done = send(anybody, path, "edit", text="Ask the desk.")
    assert said(done) == "Decided: You edited this and sent it. The link is used up."


@pytest.mark.slow
def test_a_form_that_is_not_from_the_page_is_not_taken(client: httpx.Client, anybody: httpx.Client) -> None:
    run = ask(client)
    path = link(client, run)
    assert anybody.post(path, data={"verdict": "approve"}, headers=SAME).status_code == 403
    token = csrf(anybody.get(path))
    forged: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
        ({"verdict": "approve"}, SAME),
        ({"verdict": "approve", "csrf": token[:-1]}, SAME),
        ({"verdict": "approve", "csrf": token}, {"sec-fetch-site": "cross-site"}),
        ({"verdict": "approve", "csrf": token}, {"origin": "https://evil.example"}),
        ({"verdict": "approve", "csrf": token}, {}),
    )
    for fields, headers in forged:
        assert anybody.post(path, data=fields, headers=headers).status_code == 403
    assert decided(run) == []


@pytest.mark.slow
def test_what_is_no_link_any_more_says_why_in_a_sentence(client: httpx.Client, anybody: httpx.Client) -> None:
    run = ask(client)
    path, revoked = link(client, run), link(client, run)
    other_end = path[:-1] + ("A" if path[-1] != "A" else "B")
    for bent in (other_end, f"{path}A", "/console/approve/x", "/console/approve/%00"):
        answer = anybody.get(bent)
        assert (answer.status_code, said(answer).partition(": ")[2]) == (
            410, "This link was not made here, or not all of it was copied.",
        )  # fmt: skip
    newest = LinkRows().find(run)[0]
    revoke_link(newest.id, by="ops")
    pages = [said(anybody.get(each)) for each in (path, revoked) if anybody.get(each).status_code == 410]
    assert pages == ["This link does nothing: This link was revoked."]
    other = client.get(path, headers={"x-user": "max", "x-roles": "helpdesk-lead"})
    assert said(other) == "This link does nothing: This link is for somebody else than who is signed in here."
    assert client.get(path if anybody.get(path).status_code == 200 else revoked, headers=LEAD).status_code == 200
    client.post(f"/v1/approvals/{run}", json={"verdict": "reject"}, headers=LEAD)
    left = next(each for each in (path, revoked) if "revoked" not in anybody.get(each).text)
    assert said(anybody.get(left)) == "This link does nothing: What this link is for was decided already."
    assert decided(run) == ["reject"]


def test_a_link_is_made_by_who_may_decide_for_whom_they_act(client: httpx.Client) -> None:
    run = ask(client)
    for headers, body, status in (
        ({"x-user": "ann"}, {}, 403),
        ({"x-user": "bob"}, {}, 404),
        (LEAD, {"principal": {"id": "max", "roles": ["helpdesk-lead"]}}, 403),
        (LEAD, {"hours": 0}, 422),
    ):
        assert client.post(f"/v1/approvals/{run}/links", json=body, headers=headers).status_code == status
    assert LinkRows().find(run) == []


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_a_link_in_a_message_is_followed_on_a_phone(client: httpx.Client, browser: Browser) -> None:
    run = await asyncio.to_thread(ask, client)
    path = await asyncio.to_thread(link, client, run)
    address = str(client.base_url)
    async with opened(browser, address, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        # another site's page, such as a chat in the browser
        await page.set_content(f'<a href="{address.rstrip("/")}{path}">Look and decide</a>')
        await page.get_by_text("Look and decide").tap()
        await expect(page.get_by_role("heading", name="Decide", exact=True)).to_be_visible()
        assert await violations(page) == []
        await page.get_by_role("button", name="Approve").tap()
        await expect(page.get_by_text("You approved this. The link is used up.")).to_be_visible()
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert decided(run) == ["approve"]
