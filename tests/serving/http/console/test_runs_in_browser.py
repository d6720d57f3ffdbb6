"""The pages of runs in a browser: rows that come and go, by keyboard, on a phone, and texts that would be scripts."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, expect

from sluicegate.graphs.session.reading_rights import ReadingRights
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Reservation
from tests.support.browser import DESKTOP, PHONE, opened, violations
from tests.support.console_runs import nothing_withheld, recorded
from tests.support.injection import EVERY
from tests.support.recorded_runs import BEGAN_NS, begin, end
from tests.support.stand import served, service

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

NAME = "shadow-evaluation"
OLGA: dict[str, Any] = {"who": "olga", "roles": "operator"}
HARMFUL, PLAIN = "a" * 24, "b" * 24
PAGES = ("/console/runs", "/console/runs?status=answered&usd_from=x", f"/console/runs/{PLAIN}", "/console/costs")


@pytest.fixture(scope="module")
def client(own_home: Path) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patched, served(service()) as client:
        # what documents say is shown, too
        patched.setattr(ReadingRights, "withheld", nothing_withheld)
        client.post("/v1/runs", json={"text": "How do I reset it?"})
        recorded(HARMFUL, EVERY, session=EVERY, documents=True)
        recorded(PLAIN, "How do I reset my password?", documents=True)
        yield client


@pytest.fixture
def store(client: httpx.Client) -> Iterator[Store]:
    with closing(Store(home() / "store.sqlite")) as opened:
        yield opened


def url(client: httpx.Client) -> str:
    return str(client.base_url)


def rows(page: Page) -> Any:
    return page.locator("#rows tr")


async def test_runs_come_change_and_leave_while_somebody_looks(
    client: httpx.Client, browser: Browser, store: Store
) -> None:
    async with opened(browser, url(client), **OLGA) as page:
        await page.goto("/console/runs?status=running")
        await expect(page.get_by_text("No run fits")).to_be_visible()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        older = begin(store, "1" * 24, workflow=NAME, request="The older")
        await expect(page.get_by_role("link", name="The older")).to_be_visible()
        begin(store, "2" * 24, at_ns=BEGAN_NS + 2, workflow=NAME, request="The newest")
        await expect(page.get_by_role("link", name="The newest")).to_be_visible()
        begin(store, "3" * 24, at_ns=BEGAN_NS + 1, workflow=NAME, request="Between <i>them</i>")
        await expect(rows(page).nth(1)).to_contain_text("Between <i>them</i>")
        assert [text.split("\n")[0] for text in await rows(page).all_inner_texts()] == [
            "The newest", "Between <i>them</i>", "The older",
        ]  # fmt: skip
        link = page.get_by_role("link", name="The older")
        await link.focus()
        begin(store, older.run_id, workflow=NAME)
        await page.wait_for_function("document.activeElement.textContent.includes('older')")
        await page.keyboard.press("p")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Paused", exact=True)).to_be_visible()
        end(store, older)
        await expect(page.get_by_text("Paused, 1 change waits")).to_be_visible()
        await expect(link).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        await expect(link).to_be_hidden()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()


@pytest.mark.parametrize("late", ["hx-sse.min.js", "runs.js"])
async def test_the_list_is_live_however_late_a_script_comes(client: httpx.Client, browser: Browser, late: str) -> None:
    async with opened(browser, url(client), **OLGA) as page:
        connected = asyncio.Event()

        async def delayed(route: Route) -> None:
            # long enough for what does not wait for it: a connection, or half a second without one
            with suppress(TimeoutError):
                await asyncio.wait_for(connected.wait(), 0.5)
            await route.continue_()

        page.on("response", lambda answer: connected.set() if "event-stream" in str(answer.headers) else None)
        await page.route(f"**/{late}*", delayed)
        await page.goto("/console/runs?status=running")
        await expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=20_000)


async def test_a_run_is_found_and_scored_by_keyboard_alone(client: httpx.Client, browser: Browser) -> None:
    async with opened(browser, url(client), **OLGA) as page:
        await page.goto("/console/runs")
        await page.keyboard.press("f")
        await expect(page.get_by_label("Workflow")).to_be_visible()
        await page.keyboard.press("/")
        await page.keyboard.type(PLAIN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name=f"Run {PLAIN}")).to_be_visible()
        await page.get_by_role("radio", name="Yes").focus()
        await page.keyboard.press("Space")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.type("Exactly <b>right</b>")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("cell", name="Exactly <b>right</b>")).to_be_visible()
        # what is folded opens by key
        summary = page.locator("summary").filter(has_text="chat slm")
        await summary.focus()
        await page.keyboard.press("Enter")
        held = page.locator("details[open] > pre")
        await expect(held).to_contain_text('"role": "slm"')


async def test_no_text_of_a_run_becomes_a_script(client: httpx.Client, browser: Browser) -> None:
    """`opened` fails where one does, where the policy had to stop one, and where something is fetched elsewhere."""
    async with opened(browser, url(client), **OLGA) as page:
        await page.goto("/console/runs")
        await expect(page.locator(f"#run-{HARMFUL}")).to_contain_text("<script>alert(1)</script>")
        await page.goto(f"/console/runs/{HARMFUL}")
        shown = await page.inner_text("main")
        assert shown.count("<script>alert(1)</script>") >= 8
        for summary in await page.locator(".tree summary").all():
            await summary.click()
        held = await page.inner_text(".tree")
        for name in ('"title":', '"output":', '"result":', '"query":', '"failures":'):
            assert name in held, name
        assert await page.locator("main iframe, main img, main script, main math, main base, main meta").count() == 0
        # and as a row that comes by the stream
        await page.goto("/console/runs")
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        with closing(Store(home() / "store.sqlite")) as store:
            begin(store, "c" * 24, at_ns=2 * BEGAN_NS, workflow=NAME, request=EVERY)
        await expect(rows(page).first).to_contain_text("<script>alert(1)</script>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_are_accessible_and_fit_a_phone(client: httpx.Client, browser: Browser, scheme: str) -> None:
    ledger = SqliteLedger(BudgetConfig())
    made = await ledger.reserve(
        run=PLAIN, principal="ann", intent="question", workflow=NAME, model="openai:m", usd=1.0, tokens=100
    )
    assert isinstance(made, Reservation)
    await ledger.settle(made, usd=0.5, tokens=80)
    ledger.close()
    for viewport in (PHONE, DESKTOP):
        async with opened(browser, url(client), **OLGA, color_scheme=scheme, viewport=viewport) as page:
            for address in PAGES:
                await page.goto(address)
                assert await violations(page) == [], (address, viewport)
                assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], address
                folded = await page.locator("summary:visible").all()
                for summary in folded:
                    await summary.click()
                if folded:
                    assert await violations(page) == [], (address, viewport)
            await page.goto("/console/costs?by=model")
            await expect(page.get_by_role("columnheader", name="openai:m")).to_be_visible()
            bar = page.locator("svg.bars rect.series-0").last
            assert (await bar.bounding_box() or {"height": 0})["height"] > 20


async def test_without_scripts_everything_but_the_following_is_there(client: httpx.Client, browser: Browser) -> None:
    async with opened(browser, url(client), **OLGA, java_script_enabled=False) as page:
        await page.goto("/console/runs")
        await page.get_by_text("Filters").click()
        await page.get_by_label("Status").select_option("answered")
        await page.get_by_role("button", name="Show").click()
        await page.get_by_role("link", name="How do I reset my password?").click()
        await expect(page.get_by_role("heading", name="Decisions")).to_be_visible()
        await expect(page.get_by_role("button", name="Pause")).to_be_hidden()
