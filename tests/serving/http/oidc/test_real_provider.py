"""Sign-on at a real provider: npm's certified oidc-provider on the loopback, in the real Chromium."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.async_api import Browser, Page, expect
from typer.testing import CliRunner

from sluicegate.cli.doctor import app as doctor
from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
from sluicegate.serving.http.callers.oidc.provider import FLOOR_S, STALE_S, IdentityProvider
from sluicegate.serving.http.callers.oidc.settings import read_settings
from tests.support.browser import opened, violations
from tests.support.identity_provider import RealProvider, running, said
from tests.support.loopback import free_port
from tests.support.stand import served

pytestmark = pytest.mark.slow
in_browser = pytest.mark.asyncio(loop_scope="session")

SECRET = "with spaces, %25, + and /: " + "x" * 16
ROBOT = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}


@dataclass
class Stand:
    """A server that takes tokens of the real provider."""

    provider: RealProvider
    file: Path
    client: httpx.Client
    ahead: list[float] = field(default_factory=lambda: [0.0])
    """Seconds that the server's clock is ahead."""
    since: list[float] = field(default_factory=lambda: [0.0])
    """Seconds since its start, by which it fetches keys."""

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def status(self, token: str) -> int:
        return self.client.get("/v1/approvals", headers={"authorization": f"Bearer {token}"}).status_code


@pytest.fixture(scope="module")
def stand(provider: RealProvider, own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    console = {
        "client_id": "console",
        "client_secret": SECRET,
        "redirect_uris": [f"{url}/console/sign-in/return/acme"],
        "post_logout_redirect_uris": [f"{url}/console/sign-in"],
        "grant_types": ["authorization_code", "refresh_token"],
    }
    robots = [{"client_id": name, "client_secret": name[0] * 32, **ROBOT} for name in ("robot", "desk")]
    provider.control(clients=[console, *robots])
    issuer = {
        "issuer": provider.issuer,
        "audiences": ["sluicegate"],
        "scopes": ["ask"],
        "roles": {"claim": "groups", "map": {"/staff": "employee", "/desk": ["employee", "helpdesk-lead"]}},
        "applications": {"desk": {"roles": ["employee"], "groups": []}},
        "sign_in": {"name": "Acme", "client_id": "console", "client_secret_env": "ACME_SECRET"},
    }
    file = tmp_path_factory.mktemp("oidc") / "oidc.yaml"
    file.write_text(yaml.safe_dump({"address": url, "issuers": [issuer]}))
    ahead, since = [0.0], [0.0]
    callers = OidcCallers(
        read_settings(file),
        now=lambda: datetime.now(UTC).timestamp() + ahead[0],
        provider=lambda issuer: IdentityProvider(issuer, clock=lambda: since[0]),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACME_SECRET", SECRET)
        with served(callers=callers, port=port) as client:
            client.headers = httpx.Headers()
            yield Stand(provider, file, client, ahead, since)


def test_an_application_calls_with_its_own_token(stand: Stand) -> None:
    """Client credentials: RFC 9068, as the provider makes it."""
    token = stand.provider.token("robot", "r" * 32)
    assert stand.status(token) == 200
    assert stand.status(stand.provider.token("robot", "r" * 32, scope="")) == 403
    head, body, signature = token.split(".")
    assert stand.status(f"{head}.{body}.{signature[::-1]}") == 401
    stand.ahead[0] = said(token)["exp"] + 61 - datetime.now(UTC).timestamp()
    assert stand.status(token) == 401
    stand.ahead[0] = 0.0


def test_an_application_that_is_listed_asks_for_a_person(stand: Stand) -> None:
    body = {"text": "How much is a page?", "principal": {"id": "ann", "roles": ["employee"]}}
    for name, status in (("desk", 200), ("robot", 403)):
        bearer = {"authorization": f"Bearer {stand.provider.token(name, name[0] * 32)}"}
        assert stand.client.post("/v1/runs", json=body, headers=bearer).status_code == status


def test_a_key_is_changed_while_tokens_are_taken(stand: Stand) -> None:
    before = stand.provider.token("robot", "r" * 32)
    assert stand.status(before) == 200
    stand.provider.control(rotate=True)
    after = stand.provider.token("robot", "r" * 32)
    assert stand.status(after) == 401, "the set was fetched a moment ago"
    stand.since[0] += FLOOR_S
    assert (stand.status(after), stand.status(before)) == (200, 401)


async def signed_in(page: Page, name: str = "ann") -> None:
    await page.goto("/console")
    await page.get_by_role("link", name="Sign in with Acme").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("header .who")).to_contain_text(name)


async def cookies(page: Page, stand: Stand) -> list[Any]:
    """The console's own: those of the provider are on the same host."""
    every = await page.context.cookies(f"{stand.url}/console")
    return [each for each in every if each["name"].startswith("sluicegate-")]


@in_browser
async def test_a_person_signs_in_and_out_in_a_browser(stand: Stand, browser: Browser) -> None:
    async with opened(browser, stand.url, also=stand.provider.issuer) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await signed_in(page, "lea")
        (sent,) = (httpx.URL(url).params for url in asked if "/auth?" in url and "code_challenge=" in url)
        assert (sent["code_challenge_method"], sent["response_type"]) == ("S256", "code")
        assert (await page.locator("header .who span").first.get_attribute("title")) == "employee, helpdesk-lead"
        (returned,) = (httpx.URL(url) for url in asked if "/sign-in/return/" in url)
        (kept,) = await cookies(page, stand)
        assert (kept["sameSite"], kept["httpOnly"], "sign-in" in kept["name"]) == ("Strict", True, False)
        # what came back is good for nothing any more, here or elsewhere
        assert stand.client.get(returned.raw_path.decode()).status_code == 400
        # signing out here ends the session there, too: the provider asks anew
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("button", name="Yes").click()
        await expect(page.get_by_role("link", name="Sign in with Acme")).to_be_visible()
        assert await violations(page) == []
        await page.goto("/console")
        await page.get_by_role("link", name="Sign in with Acme").click()
        await expect(page.get_by_label("Name")).to_be_visible()


@in_browser
async def test_who_declines_is_told_so_and_nothing_of_what_came_along(stand: Stand, browser: Browser) -> None:
    async with opened(browser, stand.url, also=stand.provider.issuer, expected=[400]) as page:
        await page.goto("/console/sign-in?next=https://evil.example/")
        await page.get_by_role("link", name="Sign in with Acme").click()
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator("main")).to_contain_text("the provider did not sign you in")
        assert "alert(1)" not in await page.locator("main").inner_html()


@in_browser
async def test_a_session_is_renewed_while_the_provider_vouches_and_then_ends(stand: Stand, browser: Browser) -> None:
    stand.provider.control(id_token_s=600)
    async with opened(browser, stand.url, also=stand.provider.issuer) as page:
        await signed_in(page)
        first = await cookies(page, stand)
        stand.provider.control(id_token_s=7200)
        stand.ahead[0] = 601.0
        # three at a time come with the token that is over: a refresh token that is used twice ends the whole grant
        together = "Promise.all([1, 2, 3].map(() => fetch('/console').then(answer => answer.url)))"
        assert await page.evaluate(together) == [f"{stand.url}/console"] * 3
        second = await cookies(page, stand)
        assert [each["value"] for each in first] != [each["value"] for each in second]
        stand.ahead[0] = 602.0
        await page.goto("/console")
        assert await cookies(page, stand) == second, "it is not renewed before it is over"
        # the grant is gone: everything that the provider knew is forgotten with its client
        clients = [{"client_id": name, "client_secret": name[0] * 32, **ROBOT} for name in ("robot", "desk")]
        stand.ahead[0] = 7_900.0
        stand.provider.control(clients=clients)
        await page.goto("/console")
        await expect(page.get_by_role("link", name="Sign in with Acme")).to_be_visible()
    stand.ahead[0] = 0.0


def test_doctor_says_whether_the_provider_answers_and_what_to_enter_there(stand: Stand) -> None:
    def line() -> dict[str, str]:
        done = CliRunner().invoke(doctor, ["--oidc", str(stand.file), "--json"])
        return next(each for each in json.loads(done.stdout) if each["what"] == "sign-on")

    good = line()
    assert good["state"] == "ok"
    assert f"redirect URI {stand.url}/console/sign-in/return/acme" in good["detail"]
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("ACME_SECRET")
        assert "ACME_SECRET is not set" in line()["detail"]


def test_a_provider_that_has_gone_signs_nobody_out_at_once(own_home: Path, tmp_path: Path) -> None:
    since = [0.0]
    with running() as provider:
        provider.control(clients=[{"client_id": "robot", "client_secret": "r" * 32, **ROBOT}])
        file = tmp_path / "oidc.yaml"
        issuer = {"issuer": provider.issuer, "audiences": ["sluicegate"]}
        file.write_text(yaml.safe_dump({"address": "http://127.0.0.1", "issuers": [issuer]}))
        callers = OidcCallers(
            read_settings(file), provider=lambda issuer: IdentityProvider(issuer, clock=lambda: since[0])
        )
        with served(callers=callers) as client:
            asked = Stand(provider, file, client)
            token = provider.token("robot", "r" * 32)
            assert asked.status(token) == 200
            provider.process.kill()
            provider.process.wait()
            since[0] = STALE_S
            assert asked.status(token) == 200
            since[0] = STALE_S + FLOOR_S
            assert asked.status(token) == 503
            refused = client.get("/v1/approvals", headers={"authorization": f"Bearer {token}"})
            assert refused.json()["code"] == "SG660"
            assert provider.issuer not in refused.text
    done = CliRunner().invoke(doctor, ["--oidc", str(file), "--json"])
    assert done.exit_code == 1
    (line,) = (each for each in json.loads(done.stdout) if each["what"] == "sign-on")
    assert (line["state"], "cannot be reached" in line["detail"]) == ("missing", True)
