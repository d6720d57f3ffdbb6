"""The page `/docs`: all operations, from this server alone, and under its policy."""

import hashlib
import re
from importlib.resources import files

import pytest
from playwright.async_api import Browser

from tests.support.browser import opened
from tests.support.stand import served

pytestmark = pytest.mark.slow

FILES = files("sluicegate.serving.http.swagger") / "files"


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_lists_every_operation_and_sends_a_request(browser: Browser) -> None:
    with served() as client:
        document = client.get("/openapi.json").json()
        address = str(client.base_url).rstrip("/")
        async with opened(browser, address, who="ann", roles="employee") as page:
            await page.goto("/docs")
            await page.locator("#operations-The_server-health").wait_for()
            assert await page.locator(".opblock").count() == sum(len(each) for each in document["paths"].values())
            asking = page.locator("[id$='-ask'].opblock")
            await asking.locator(".opblock-summary").click()
            await asking.get_by_role("button", name="Try it out").click()
            await asking.get_by_role("button", name="Execute").click()
            answer = asking.locator(
                ".live-responses-table .response-col_description .microlight, .live-responses-table pre"
            )
            assert "Version 1 [1]." in await answer.first.inner_text()


def test_its_files_are_known_and_only_they_are_served() -> None:
    given = dict(re.findall(r"\| `([\w.-]+)` \| `([0-9a-f]{64})` \|", (FILES / "README.md").read_text()))
    assert given == {name: hashlib.sha256((FILES / name).read_bytes()).hexdigest() for name in given}
    assert len(given) == 2
    with served() as client:
        for name in given:
            assert client.get(f"/docs/{name}").content == (FILES / name).read_bytes()
        assert client.get("/docs/README.md").status_code == 404
        assert client.get("/docs/..%2fpage.py").status_code == 404
