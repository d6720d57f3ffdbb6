"""What holds for every page: who looks, headers, sessions, errors, static files."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import CorruptError, RunError
from sluicegate.serving.http.app import application
from sluicegate.serving.http.callers import Named, TokenFile
from sluicegate.serving.http.console.guarding import inside
from sluicegate.serving.http.console.sessions import Sessions
from sluicegate.serving.workflows import Workflows
from tests.support import ROOT
from tests.support.browser import PHONE, opened, violations
from tests.support.console import SAME, csrf
from tests.support.stand import served, service

STATIC = ROOT / "src" / "sluicegate" / "serving" / "http" / "console" / "static"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile(tmp_path_factory.mktemp("tokens") / "tokens.json")


@pytest.fixture(scope="module")
def client(own_home: Path, tokens: TokenFile) -> Iterator[httpx.Client]:
    tokens.add("nobody", Named(id="nobody"))
    with served(callers=tokens) as client:
        client.headers = httpx.Headers(SAME)
        yield client


@pytest.fixture(autouse=True)
def signed_out(client: httpx.Client) -> None:
    client.cookies.clear()


def signed_in(client: httpx.Client, token: str, target: str = "/console") -> httpx.Response:
    page = client.get("/console/sign-in", params={"next": target})
    return client.post("/console/sign-in", data={"csrf": csrf(page), "token": token, "next": target})


@pytest.mark.slow
async def test_a_token_signs_in_and_its_revocation_ends_the_session(client: httpx.Client, tokens: TokenFile) -> None:
    token = tokens.add("lea", Named(id="lea", roles=["helpdesk-lead"]))
    asked = client.get("/console?x=1")
    assert (asked.status_code, asked.headers["location"]) == (303, "/console/sign-in?next=%2Fconsole%3Fx%3D1")
    wrong = signed_in(client, "sg_wrong")
    assert (wrong.status_code, "Unknown or expired token" in wrong.text) == (401, True)
    done = signed_in(client, token, "/console?x=1")
    assert (done.status_code, done.headers["location"]) == (303, "/console?x=1")
    cookie = done.headers["set-cookie"]
    assert re.fullmatch(
        r"sluicegate-[0-9a-f]{8}=[\w-]+; HttpOnly; Max-Age=43200; Path=/console; SameSite=strict", cookie
    )
    assert token not in cookie
    page = client.get("/console")
    assert (page.status_code, "lea" in page.text) == (200, True)
    # who is signed in is not asked again
    assert client.get("/console/sign-in?next=/console/x").headers["location"] == "/console/x"
    tokens.revoke("lea")
    assert client.get("/console").headers["location"].startswith("/console/sign-in")


async def test_a_session_is_bounded_and_its_cookie_is_the_hosts_over_tls(
    client: httpx.Client, tokens: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.add("finn", Named(id="finn"))
    app = application(Workflows([service()]), tokens)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://gate.example", headers=SAME
    ) as secure:
        page = await secure.get("/console/sign-in")
        done = await secure.post("/console/sign-in", data={"csrf": csrf(page), "token": token})
    assert re.fullmatch(
        r"__Host-sluicegate-[0-9a-f]{8}=[\w-]+; HttpOnly; Max-Age=43200; Path=/; SameSite=strict; Secure",
        done.headers["set-cookie"],
    )
    assert done.headers["strict-transport-security"] == "max-age=31536000"
    # where a gateway ends TLS
    behind = client.get("/console/sign-in", headers={"x-forwarded-proto": "https"})
    assert behind.headers["set-cookie"].startswith("__Host-sluicegate-")
    client.cookies.clear()
    assert "strict-transport-security" not in signed_in(client, token).headers
    assert client.get("/console").status_code == 200
    monkeypatch.setattr("sluicegate.serving.http.console.sessions._LIFE_S", -1)
    assert client.get("/console").status_code == 303


async def test_processes_of_a_home_know_each_others_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home"))
    session = Sessions().new("sg_x", "gil")

    def cookie() -> bytes:
        response = Response()
        Sessions().keep(_request(), response, session)
        return response.headers["set-cookie"].partition(";")[0].encode()

    own = cookie()
    assert Sessions().of(_request(own)) == session
    assert Sessions().of(_request(own[:-3] + b"AAA")) is None
    key = tmp_path / "home" / "keys" / "console.key"
    assert key.stat().st_mode & 0o777 == 0o600
    # other machines by the same key
    monkeypatch.setenv("SLUICEGATE_CONSOLE_KEY", key.read_text())
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "other"))
    assert Sessions().of(_request(own)) == session
    monkeypatch.delenv("SLUICEGATE_CONSOLE_KEY")
    assert Sessions().of(_request(own)) is None
    monkeypatch.setenv("SLUICEGATE_CONSOLE_KEY", "short")
    with pytest.raises(CorruptError, match="not 32 bytes"):
        cookie()
    monkeypatch.delenv("SLUICEGATE_CONSOLE_KEY")
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home"))
    key.chmod(0o644)
    with pytest.raises(CorruptError, match="readable by other users"):
        cookie()
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "other"))
    session = Sessions().new(os.urandom(4000).hex())
    with pytest.raises(RunError, match="too long for a cookie"):
        cookie()


def _request(cookie: bytes = b"") -> Request:
    return Request(
        {
            "type": "http",
            "scheme": "http",
            "path": "/console",
            "server": ("127.0.0.1", 80),
            "query_string": b"",
            "headers": [(b"cookie", cookie)],
        }
    )


@pytest.mark.slow
async def test_a_link_on_another_site_leads_to_the_page_without_signing_in_again(
    client: httpx.Client, tokens: TokenFile, browser: Browser
) -> None:
    """Browsers keep a strict cookie back on the way."""
    token = tokens.add("hana", Named(id="hana"))
    async with opened(browser, str(client.base_url)) as page:
        await page.goto("/console?x=1")
        await page.get_by_label("Token").fill(token)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Inbox").wait_for()
        await page.goto(f"data:text/html,<a href={client.base_url}/console?x=1>Decide</a>")
        await page.get_by_role("link", name="Decide").click()
        await page.get_by_role("heading", name="Inbox").wait_for()
        assert page.url == f"{client.base_url}/console?x=1"
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in").wait_for()


@pytest.mark.slow
async def test_where_a_gateway_names_callers_nobody_signs_in_and_forms_are_the_viewers(own_home: Path) -> None:
    with served() as gated:
        page = gated.get("/console")
        assert (page.status_code, "Sign out" in page.text) == (200, False)
        fields = {"csrf": csrf(page)}
        # the gateway names somebody else by now, in the same browser
        other = gated.post("/console/sign-out", data=fields, headers={**SAME, "x-user": "ben"})
        assert other.status_code == 303
        gated.cookies.clear()
        nobody = gated.get("/console", headers={"x-user": ""})
        assert (nobody.status_code, "the gateway sent no user" in nobody.text) == (401, True)
        assert "known by its gateway" in gated.get("/console/sign-in", headers={"x-user": ""}).text


async def test_signing_out_takes_the_cookie_away(client: httpx.Client, tokens: TokenFile) -> None:
    signed_in(client, tokens.add("ben", Named(id="ben")))
    done = client.post("/console/sign-out", data={"csrf": csrf(client.get("/console"))})
    assert (done.status_code, done.headers["location"]) == (303, "/console/sign-in")
    assert not client.cookies
    assert client.get("/console").status_code == 303


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "/console/\\..\\x", "/consolex", "/v1/runs", "",
        "javascript:alert(1)", "/console\r\nx: y", "/console/\u2028",
    ],
)  # fmt: skip
async def test_signing_in_leads_to_no_other_place(target: str) -> None:
    assert inside(target) == "/console"


async def test_every_answer_has_the_headers_and_no_error_a_trace(client: httpx.Client, tokens: TokenFile) -> None:
    signed_in(client, tokens.add("cem", Named(id="cem")))
    missing = client.get("/console/no-such-page")
    assert (missing.status_code, "there is no such page" in missing.text) == (404, True)
    wrong = client.delete("/console")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "text/html; charset=utf-8")
    for each in (client.get("/console"), client.get("/console/sign-in"), missing, wrong, client.post("/console/x")):
        policy = each.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert (each.headers["referrer-policy"], each.headers["cache-control"]) == ("same-origin", "no-store")
        assert "Traceback" not in each.text
    assert "content-security-policy" not in client.get("/healthz").headers


async def test_static_files_are_kept_by_browsers_and_vendored_unchanged(client: httpx.Client) -> None:
    for path in set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', client.get("/console/sign-in").text)):
        found = client.get(path)
        assert (found.status_code, found.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert client.get(re.sub(r"/[0-9a-f]{16}/", f"/{'0' * 16}/", path)).status_code == 404
    told = dict(re.findall(r"\| `([\w.-]+)` \| `([0-9a-f]{64})` \|", (STATIC / "README.md").read_text()))
    assert told == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in STATIC.glob("*.min.js")}
    assert len((STATIC / "console.css").read_text().splitlines()) < 400


@pytest.mark.slow
async def test_signing_in_on_a_phone(client: httpx.Client, tokens: TokenFile, browser: Browser) -> None:
    token = tokens.add("dana", Named(id="dana"))
    for scheme in ("light", "dark"):
        async with opened(browser, str(client.base_url), expected=[401], viewport=PHONE, color_scheme=scheme) as page:
            await page.goto("/console")
            await page.get_by_label("Token").fill("sg_wrong")
            await page.keyboard.press("Enter")
            await page.get_by_text("Unknown or expired token").wait_for()
            assert await violations(page) == []
            await page.get_by_label("Token").fill(token)
            await page.keyboard.press("Enter")
            await page.get_by_role("heading", name="Inbox").wait_for()
            assert await violations(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
