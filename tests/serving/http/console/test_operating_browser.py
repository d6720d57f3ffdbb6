"""Pages of those who operate in Chromium: WCAG AA in light and dark and on a phone, by keyboard, with harmful texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from sluicegate.evals.promotion import champions
from sluicegate.policies.kill_switch import KillSwitch
from tests.support import operated
from tests.support.browser import DESKTOP, PHONE, opened, violations
from tests.support.operated import HARM, NAME
from tests.support.stand import served, service

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


@pytest.fixture(scope="module")
def incident() -> list[str]:
    return []


@pytest.fixture(scope="module")
def client(own_home: Path, tmp_path_factory: pytest.TempPathFactory, incident: list[str]) -> Iterator[httpx.Client]:
    files = operated.written(tmp_path_factory.mktemp("workflows"))
    operated.walked(200)
    operated.evaluated(files[0])
    operated.shadowed(files[0], files[1])
    operated.switched()
    incident += operated.reported()
    with served(service(files[0])) as client:
        yield client


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)])
async def test_every_page_is_accessible_and_fits(
    client: httpx.Client, browser: Browser, incident: list[str], scheme: str, size: dict[str, int]
) -> None:
    pages = [
        "workflows", f"workflows/{NAME}", f"router/{NAME}", "evaluations", "evaluations/2", "evaluations/shadows/1",
        "incidents?status=all", f"incidents/{incident[0]}", "switches", f"switches/off?name=workflow:{NAME}",
        "switches/on?name=intent:rules", f"workflows/{NAME}/promote/1",
    ]  # fmt: skip
    options: dict[str, Any] = {"viewport": size, "color_scheme": scheme}
    async with opened(browser, str(client.base_url), who="olga", roles="operator", **options) as page:
        for path in pages:
            await page.goto(f"/console/{path}")
            for summary in await page.locator("summary").all():
                await summary.click()
            assert await violations(page) == [], path
            assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], path


async def test_a_workflow_is_switched_off_and_on_by_keyboard_on_a_phone(client: httpx.Client, browser: Browser) -> None:
    async with opened(browser, str(client.base_url), who="olga", roles="operator", viewport=PHONE) as page:
        await page.goto("/console/switches")
        await page.get_by_label("What").focus()
        await page.get_by_label("What").select_option(f"workflow:{NAME}")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name=f"Switch off workflow:{NAME}").wait_for()
        assert not [each for each in KillSwitch().entries() if each.name != "intent:rules"]
        await page.get_by_label("Why?").focus()
        await page.keyboard.type(HARM)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_text(f"workflow:{NAME}").first.wait_for()
        (off,) = [each for each in KillSwitch().entries() if each.name != "intent:rules"]
        assert (off.name, off.reason, off.by) == (f"workflow:{NAME}", HARM, "olga")
        await page.get_by_role("link", name=f"Switch on workflow:{NAME}").press("Enter")
        await page.get_by_label("Why?").fill("mended")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Kill switches").wait_for()
        assert [each.name for each in KillSwitch().entries()] == ["intent:rules"]


async def test_a_challenger_is_promoted_by_two_clicks_at_a_time_and_rolled_back(
    client: httpx.Client, browser: Browser
) -> None:
    async with opened(browser, str(client.base_url), who="olga", roles="operator") as page:
        await page.goto("/console/workflows")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Shadow 1").click()
        await page.get_by_role("link", name="Promote the challenger…").click()
        await page.get_by_label("Why now?").fill(HARM)
        await page.get_by_role("button", name="Promote").dblclick()
        await page.get_by_role("cell", name="promote", exact=True).wait_for()
        await page.get_by_role("link", name="Roll back…").click()
        await page.get_by_text("stops serving").wait_for()
        assert await violations(page) == []
        await page.get_by_label("Why?").fill(HARM)
        await page.get_by_role("button", name="Roll back").dblclick()
        await page.get_by_role("cell", name="rollback", exact=True).wait_for()
        assert [entry["action"] for entry in champions.history(NAME)] == ["start", "promote", "rollback"]


async def test_an_incident_is_acknowledged_and_closed(
    client: httpx.Client, browser: Browser, incident: list[str]
) -> None:
    async with opened(browser, str(client.base_url), who="olga", roles="operator") as page:
        await page.goto("/console/incidents")
        await page.get_by_role("link", name="tampering").click()
        await page.get_by_role("textbox", name="Note").fill(HARM)
        await page.get_by_label("Severity").select_option("widespread")
        await page.get_by_role("button", name="Add").click()
        await page.get_by_text(HARM).nth(1).wait_for()
        await page.get_by_label("What was done about it").fill(HARM)
        await page.get_by_role("button", name="Close the incident").click()
        await page.get_by_text("Resolution").wait_for()
        assert await page.get_by_role("button", name="Close the incident").count() == 0
        await page.goto("/console/incidents?status=closed")
        assert await page.get_by_role("link", name="tampering").count() == 1
        await page.get_by_role("button", name="Verify now").click()
        await page.get_by_text("intact").wait_for()
