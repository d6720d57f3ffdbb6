"""Decisions in a browser: by touch, by keyboard, without scripts, and with texts that would be scripts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from sluicegate import Service
from tests.support.browser import PHONE, opened, violations
from tests.support.console import LEAD, Desk, ask, decided
from tests.support.injection import EVERY, PAYLOADS
from tests.support.stand import NoShadow, served, service
from tests.support.ticketing import REQUEST, ticket_desk

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

LEA: dict[str, Any] = {"who": "lea", "roles": "helpdesk-lead"}


@pytest.fixture(scope="module")
def client(own_home: Path) -> Iterator[httpx.Client]:
    with served(service(open_version=Desk())) as client:
        yield client


def url(client: httpx.Client) -> str:
    return str(client.base_url)


async def test_approving_on_a_phone(client: httpx.Client, browser: Browser) -> None:
    run = ask(client)
    async with opened(browser, url(client), **LEA, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        await page.goto("/console")
        await page.locator(f"#run-{run} a").tap()
        await page.get_by_role("link", name="Source [1]").tap()
        await expect(page.get_by_text("Reset it in the portal.", exact=True)).to_be_visible()
        button = page.get_by_role("button", name="Approve")
        box = await button.bounding_box()
        assert box
        assert box["height"] >= 44
        await button.tap()
        await expect(page.get_by_text("You approved this.")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert decided(run) == ["approve"]


async def test_approving_by_keyboard_alone(client: httpx.Client, browser: Browser) -> None:
    for run in {waiting["id"] for waiting in client.get("/v1/approvals", headers=LEAD).json()["approvals"]}:
        client.post(f"/v1/approvals/{run}", json={"verdict": "reject"}, headers=LEAD)
    first, second = ask(client), ask(client, "How do I reset it again?")
    async with opened(browser, url(client), **LEA) as page:
        await page.goto("/console")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        for key in ("j", "j", "k", "j"):
            await page.keyboard.press(key)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Decide", exact=True)).to_be_visible()
        await page.keyboard.press("e")
        box = page.get_by_label("Text to send")
        await expect(box).to_be_focused()
        # what somebody types is no command
        await page.keyboard.press("Control+a")
        await page.keyboard.type("are j k ?")
        await expect(box).to_have_value("are j k ?")
        await page.keyboard.press("Tab")
        await page.keyboard.type("Because.")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        send = page.get_by_role("button", name="Send this instead")
        await expect(send).to_be_visible()
        for _ in range(40):
            if await send.evaluate("each => each === document.activeElement"):
                break
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("You edited and sent this.")).to_be_visible()
        await page.goto("/console")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Decide", exact=True)).to_be_visible()
        await page.keyboard.press("a")
        await expect(page.get_by_role("button", name="Approve")).to_be_focused()
        assert decided(first) == []
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("You approved this.")).to_be_visible()
    assert (decided(first), decided(second)) == (["approve"], ["edit"])


async def test_the_keys_are_listed_and_can_be_switched_off(client: httpx.Client, browser: Browser) -> None:
    ask(client)
    async with opened(browser, url(client), **LEA) as page:
        await page.goto("/console")
        await page.keyboard.press("?")
        dialog = page.get_by_role("dialog", name="Keys")
        await expect(dialog.get_by_text("Next")).to_be_visible()
        assert await violations(page) == []
        await page.get_by_label("Keys without Ctrl or Alt").uncheck()
        await page.keyboard.press("Escape")
        await page.reload()
        await page.keyboard.press("?")
        await expect(dialog).to_be_hidden()
        await page.get_by_role("button", name="Keys").click()
        await expect(dialog).to_be_visible()


async def test_deciding_without_scripts(client: httpx.Client, browser: Browser) -> None:
    run, other = ask(client), ask(client, "How do I reset another?")
    async with opened(browser, url(client), **LEA, java_script_enabled=False) as page:
        await page.goto("/console")
        await page.locator(f"#run-{run} a").click()
        await page.get_by_text("Edit the text").click()
        await page.get_by_label("Text to send").fill("In the portal.")
        await page.get_by_role("button", name="See the changes").click()
        await expect(page.locator("del").first).to_have_text("Reset it in")
        await page.get_by_role("button", name="Send this instead").click()
        await expect(page.get_by_text("You edited and sent this.")).to_be_visible()
        await page.goto(f"/console/approvals/{other}")
        await page.get_by_role("button", name="Reject").click()
        await expect(page.get_by_text("You rejected this.")).to_be_visible()
    assert (decided(run), decided(other)) == (["edit"], ["reject"])


async def test_a_page_follows_what_happens_and_keeps_what_is_typed(client: httpx.Client, browser: Browser) -> None:
    run = ask(client)
    async with opened(browser, url(client), **LEA, expected=[409]) as page:
        await page.clock.install()
        await page.goto(f"/console/approvals/{run}")
        deadline = page.locator("#standing time").first
        before = await deadline.inner_text()
        await page.get_by_label("Reason").first.fill("Half a sen")
        async with page.expect_response("**/standing"):
            await page.clock.fast_forward(11_000)
        assert before != await deadline.inner_text()
        assert await page.get_by_label("Reason").first.input_value() == "Half a sen"
        client.post(f"/v1/approvals/{run}", json={"verdict": "reject"}, headers={**LEAD, "x-user": "kim"})
        await page.clock.fast_forward(11_000)
        await expect(page.get_by_text("kim rejected this.")).to_be_visible()
        assert await page.get_by_label("Reason").first.input_value() == "Half a sen"
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_text("decided before your click arrived")).to_be_visible()
        # a new request comes in by itself
        await page.goto("/console")
        new = ask(client, "How do I reset a third?")
        await page.clock.fast_forward(11_000)
        await expect(page.locator(f"#run-{new}")).to_be_visible()
        # an error leaves what is there
        await page.route("**/console", lambda route: route.fulfill(status=409, body="broken"))
        async with page.expect_response("**/console"):
            await page.clock.fast_forward(11_000)
        await expect(page.locator(f"#run-{new}")).to_be_visible()
    assert decided(run) == ["reject"]


async def test_a_form_on_another_site_decides_nothing(client: httpx.Client, browser: Browser) -> None:
    run = ask(client)
    async with opened(browser, url(client), **LEA, expected=[403]) as page:
        await page.goto("/console")
        await page.goto(
            f"data:text/html,<form method=post action={url(client)}/console/approvals/{run}>"
            "<input name=verdict value=approve><button>Win</button></form>"
        )
        await page.get_by_role("button", name="Win").click()
        await expect(page.get_by_text("this form was not taken")).to_be_visible()
        assert await violations(page) == []
    assert decided(run) == []


async def test_texts_stay_texts(browser: Browser, own_home: Path) -> None:
    """In the request, the draft of a model, a document's title, its passage, a tool's result, what an approver writes,
    their name and an address."""
    desk = Desk(draft=f"{EVERY} [1]", title=EVERY, passage=EVERY, result=EVERY)
    with served(service(open_version=desk)) as client:
        answer, call = ask(client, f"How?\n{EVERY}"), ask(client, f"access\n{EVERY}")
        async with opened(
            browser, url(client), who='"><img src=x onerror=alert(1)>', roles="helpdesk-lead", expected=[404]
        ) as page:
            await page.goto("/console")
            await _only_text(page, places=2)
            await page.goto(f"/console/approvals/{answer}")
            for each in await page.locator("summary").all():
                await each.click()
            # the request, the draft, the title, the passage
            await _only_text(page, places=4)
            await page.get_by_label("Text to send").fill(f"Other {EVERY}")
            await page.get_by_label("Reason").last.fill(EVERY)
            await page.get_by_role("button", name="See the changes").click()
            await page.locator("#preview").wait_for()
            await _only_text(page, places=3)
            await page.get_by_role("button", name="Send this instead").click()
            await page.get_by_text("edited and sent this").wait_for()
            await _only_text(page, places=3)
            await page.goto(f"/console/approvals/{call}")
            await _only_text(page, places=2)
            await page.get_by_label("Reason").first.fill(EVERY)
            await page.get_by_role("button", name="Reject").click()
            await page.get_by_text("rejected this").wait_for()
            await _only_text(page, places=3)
            for payload in PAYLOADS:
                await page.goto(f"/console/approvals/{httpx.QueryParams({'x': payload})!s}"[:2000])
                await _only_text(page, places=0)


async def _only_text(page: Page, *, places: int) -> None:
    text = await page.locator("body").inner_text()
    for payload in PAYLOADS:
        # between backticks it is shown as code
        shown = text.count(payload) + (text.count(payload.strip("`")) if payload.startswith("`") else 0)
        assert shown >= places, payload
    strange = await page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((each) =>
          each.matches("svg, iframe, object, embed, math, base, template, style, script:not([src^='/console/static/'])")
          || [...each.attributes].some(({ name, value }) =>
            /^on|hx-on|hx-vals/.test(name) || /^javascript:/i.test(value))
        ).map((each) => each.outerHTML.slice(0, 200))"""
    )
    assert strange == []


async def test_arguments_as_a_form(browser: Browser, own_home: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        made = ticket_desk(tmp_path / "desk", patched, extracted={"title": "Printer on floor 2 is jammed"})
        with served(Service(made, beside=NoShadow)) as client:  # type: ignore[arg-type]
            run = client.post("/v1/runs", json={"text": REQUEST}).json()["run"]
            async with opened(browser, url(client), who="lea", roles="lead", expected=[422]) as page:
                await page.goto(f"/console/approvals/{run}")
                await page.get_by_text("Edit the arguments").click()
                title = page.get_by_label("title (required)")
                await title.fill("")
                await page.get_by_role("button", name="See the changes").click()
                told = "What is wanted, in a few words. At least 3 characters, at most 120 characters title is required"
                await expect(title).to_have_accessible_description(told)
                assert await violations(page) == []
                await title.fill("Printer jammed")
                await page.get_by_label("category").select_option("hardware")
                await page.get_by_role("button", name="See the changes").click()
                await expect(page.locator("ins").first).to_have_text("Printer jammed")
                assert await violations(page) == []
                await page.get_by_role("button", name="Call the tool with these").click()
                await expect(page.get_by_text("You edited and sent this.")).to_be_visible()
            decision = client.get(f"/v1/runs/{run}/trail").json()["decisions"]
            (values,) = [each["values"] for each in decision if each["node"] == "approve"]
            assert values["extraction.fields"] == {"title": "Printer jammed", "category": "hardware"}


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
async def test_every_page_is_accessible(client: httpx.Client, browser: Browser, scheme: str, width: int) -> None:
    run, done = ask(client), ask(client)
    client.post(f"/v1/approvals/{done}", json={"verdict": "approve"}, headers=LEAD)
    async with opened(
        browser, url(client), **LEA, expected=[404, 422], viewport={"width": width, "height": 800},
        color_scheme=scheme, reduced_motion="reduce",
    ) as page:  # fmt: skip
        for path in ("/console", f"/console/approvals/{run}", f"/console/approvals/{done}", "/console/none"):
            await page.goto(path)
            for each in await page.locator("summary").all():
                await each.click()
            assert (path, await violations(page)) == (path, [])
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            moving = "[...document.querySelectorAll('button')].map((each) => getComputedStyle(each).transitionDuration)"
            assert {*await page.evaluate(moving)} == {"0s"}
        await page.goto(f"/console/approvals/{run}")
        await page.get_by_text("Edit the text").click()
        for text in ("", "Reset it elsewhere."):
            await page.get_by_label("Text to send").fill(text)
            await page.get_by_role("button", name="See the changes").click()
            await page.locator("[role=alert], #preview").first.wait_for()
            assert await violations(page) == []
