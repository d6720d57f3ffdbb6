"""The system's Chromium, for pages: one for all tests, and a page that fails its test on whatever goes wrong in it."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Request, Response, async_playwright, expect

__all__ = ["DESKTOP", "PHONE", "chromium", "opened", "violations"]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
_WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE_MS = 60_000
_HOOK = "window.harm = 0; window.alert = window.confirm = window.prompt = () => { window.harm += 1; };"
"""What the payloads of the tests of injection call; none may."""

expect.set_options(timeout=_PATIENCE_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Skips the test where there is none; `SLUICEGATE_TEST_CHROMIUM` names another one."""
    found = os.environ.get("SLUICEGATE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if not found:
        pytest.skip("no Chromium: install the system's, or set SLUICEGATE_TEST_CHROMIUM")
    # a container's root has no namespaces for the sandbox; the pages are our own
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser,
    address: str,
    *,
    who: str = "",
    roles: str = "",
    expected: Sequence[int] = (),
    also: str = "data:",
    **options: Any,
) -> AsyncIterator[Page]:
    """A page of a browser of its own, whose gateway names `who`. What its console says, what its policy forbids, what
    its scripts raise, what it asks of another host and every answer of 400 and more that is not `expected` fails the
    test. `also` is another host that pages lead to."""
    headers = {"x-user": who, "x-roles": roles} if who else {}
    options = {"viewport": DESKTOP, **options}
    context = await browser.new_context(base_url=address, extra_http_headers=headers, **options)
    context.set_default_timeout(_PATIENCE_MS)
    await context.add_init_script(_HOOK)
    wrong: list[str] = []
    page = await context.new_page()

    def requested(request: Request) -> None:
        if not request.url.startswith((address, also, "data:", "about:")):
            wrong.append(f"asked of another host: {request.url}")

    def answered(response: Response) -> None:
        if response.status >= 400 and response.status not in expected:
            wrong.append(f"{response.status} {response.url}")

    def said(message: Any) -> None:
        told = f"{message.type}: {message.text}"
        if message.type in ("error", "warning") and not any(f"status of {status}" in told for status in expected):
            wrong.append(told)

    context.on("request", requested)
    context.on("response", answered)
    context.on("console", said)
    context.on("weberror", lambda error: wrong.append(f"raised: {error.error}"))
    try:
        yield page
        scripted = options.get("java_script_enabled", True)
        harmed = [each.url for each in context.pages if scripted and await each.evaluate("window.harm")]
        assert (wrong, harmed) == ([], [])
    finally:
        await context.close()


async def violations(page: Page) -> list[str]:
    """What axe finds on a page against WCAG 2.2, levels A and AA, each with the elements it is about."""
    results = await Axe().run(
        page, options={"runOnly": {"type": "tag", "values": [*_WCAG]}, "resultTypes": ["violations"]}
    )
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes']]}"
        for rule in results.response["violations"]
    ]
