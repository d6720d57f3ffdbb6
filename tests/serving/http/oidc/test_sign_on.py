"""The console's sign-in against everything that comes back from a provider, or seems to."""

import base64
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sluicegate.serving.http.callers.oidc import code_flow
from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
from sluicegate.serving.http.callers.oidc.code_flow import CodeFlow, SignedIn
from sluicegate.serving.http.callers.oidc.provider import ProviderError
from sluicegate.serving.http.callers.oidc.verification import RefusedTokenError
from sluicegate.serving.http.console.sessions import Sessions
from sluicegate.serving.http.console.sign_on import sign_on_ways
from tests.support.made_tokens import EC, ISSUER, NOW, THEIRS, Published, callers, claims, token
from tests.support.stand import served

SIGN_IN = {"name": "Acme Corp", "client_id": "console"}
BEGIN, RETURN = "/console/sign-in/with/acme-corp", "/console/sign-in/return/acme-corp"


@dataclass
class Endpoint:
    """In the place of the provider's token endpoint: what it was sent, and what it answers."""

    answer: dict[str, Any] | Exception = field(default_factory=dict[str, Any])
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def __call__(self, url: str, *, form: dict[str, str], login: Any = None) -> dict[str, Any]:
        self.sent.append({"url": url, "login": login, **form})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(scope="module")
def published() -> Published:
    return Published()


@pytest.fixture(scope="module")
def now() -> list[float]:
    return [float(NOW)]


@pytest.fixture(scope="module")
def server(own_home: Path, published: Published, now: list[float]) -> Iterator[httpx.Client]:
    with served(callers=callers(published, now=lambda: now[0], sign_in=SIGN_IN)) as client:
        client.headers = httpx.Headers({"sec-fetch-site": "same-origin"})
        yield client


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    made = Endpoint()
    monkeypatch.setattr(code_flow, "fetch", made)
    return made


@pytest.fixture
def browser(server: httpx.Client, now: list[float]) -> httpx.Client:
    """With no cookie yet."""
    server.cookies.clear()
    now[0] = float(NOW)
    return server


def id_token(nonce: str | None, key: Any = EC, alg: str = "ES256", typ: str | None = "JWT", **other: Any) -> str:
    said = claims(**{"aud": "console", "nonce": nonce, "client_id": None, **other})
    return token(said, key=key, alg=alg, typ=typ)


def begun(browser: httpx.Client, target: str = "/console") -> dict[str, str]:
    """What the provider is asked."""
    answer = browser.get(BEGIN, params={"next": target})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{ISSUER}/auth?")
    return {name: value for name, (value,) in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def test_what_is_asked_and_what_comes_of_it(browser: httpx.Client, endpoint: Endpoint) -> None:
    asked = begun(browser, "/console?x=1")
    assert asked["redirect_uri"] == f"https://sluicegate.example.org{RETURN}"
    endpoint.answer = {"id_token": id_token(asked["nonce"], realm_access={"roles": ["staff"]})}
    done = browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    assert done.status_code == 200
    # a page of ours goes on: a redirect would still be the provider's, and come without the new cookie
    assert 'http-equiv="refresh" content="0; url=/console?x=1"' in done.text
    assert "SameSite=strict" in done.headers["set-cookie"]
    (sent,) = endpoint.sent
    assert sent["redirect_uri"] == asked["redirect_uri"]
    assert sent["client_id"] == "console", "a public client names itself"
    verifier = sent["code_verifier"]
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert asked["code_challenge"] == digest
    assert 'title="employee">u-1<' in browser.get("/console").text


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/v1/runs", "/consolex"])
def test_it_leads_to_no_other_place(browser: httpx.Client, endpoint: Endpoint, target: str) -> None:
    asked = begun(browser, target)
    endpoint.answer = {"id_token": id_token(asked["nonce"])}
    done = browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    assert 'content="0; url=/console"' in done.text


def refused(browser: httpx.Client, **query: str) -> str:
    done = browser.get(RETURN, params=query)
    assert done.status_code == 400
    assert browser.get("/console").status_code == 303
    return done.text


def test_an_answer_that_this_browser_did_not_ask_for(browser: httpx.Client, endpoint: Endpoint) -> None:
    """Sign-in CSRF: somebody sends a link with a code of their own."""
    asked = begun(browser)
    endpoint.answer = {"id_token": id_token(asked["nonce"])}
    for state in ("", "other", asked["state"] + "x", asked["nonce"]):
        refused(browser, code="c", state=state)
    kept = dict(browser.cookies)
    browser.cookies.clear()
    assert "was not begun in this browser" in refused(browser, code="c", state=asked["state"])
    for name in kept:
        browser.cookies.set(name, "x" * 200)
    refused(browser, code="c", state=asked["state"])
    assert endpoint.sent == [], "no code is redeemed"


@pytest.mark.parametrize(
    ("promised", "said", "refused"),
    [
        (True, {"iss": ISSUER}, False),
        (True, {}, True),
        (False, {}, False),
        (False, {"iss": ISSUER + "/"}, True),
        (True, {"iss": "https://evil.example"}, True),
    ],
)
async def test_an_answer_of_another_provider(
    endpoint: Endpoint, promised: bool, said: dict[str, str], refused: bool
) -> None:
    """RFC 9207: `iss` must be right where it comes, and come where the provider says that it does."""
    published = Published()
    published.metadata["authorization_response_iss_parameter_supported"] = promised
    with pytest.raises(RefusedTokenError, match="another issuer" if refused else "no ID token"):
        await finished(flow_of(callers(published, sign_in=SIGN_IN)), {"code": "c", **said})
    assert len(endpoint.sent) == (not refused)


def test_what_the_provider_declines_is_not_repeated(browser: httpx.Client, endpoint: Endpoint) -> None:
    asked = begun(browser)
    text = refused(browser, state=asked["state"], error="access_denied", error_description="<b>call 555-1234</b>")
    assert "the provider did not sign you in" in text
    assert "555" not in text
    refused(browser, state=asked["state"])
    assert endpoint.sent == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "portal"},
        {"aud": ["console", "portal"]},
        {"aud": ["console", "portal"], "azp": "portal"},
        {"azp": "portal"},
        {"iss": "https://evil.example"},
        {"exp": NOW - 61},
        {"exp": None},
        {"iat": None},
        {"iat": NOW + 61},
        {"sub": None},
        {"key": THEIRS, "alg": "RS256"},
        {"typ": "at+jwt"},
        {"typ": "logout+jwt"},
    ],
)
def test_an_id_token_that_is_not_the_answer(browser: httpx.Client, endpoint: Endpoint, wrong: dict[str, Any]) -> None:
    asked = begun(browser)
    endpoint.answer = {"id_token": id_token(**{"nonce": asked["nonce"], **wrong})}
    assert "the token" in refused(browser, code="c", state=asked["state"])
    endpoint.answer = {"id_token": id_token(asked["nonce"], aud=["console", "portal"], azp="console")}
    assert browser.get(RETURN, params={"code": "c", "state": asked["state"]}).status_code == 200, "but for that"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({}, 400),
        ({"id_token": 5}, 400),
        ({"access_token": "t"}, 400),
        (ProviderError("no", 400), 400),
        (ProviderError("down"), 503),
        (ProviderError("down", 500), 503),
    ],
)
def test_a_token_endpoint_that_gives_none(
    browser: httpx.Client, endpoint: Endpoint, answer: dict[str, Any] | Exception, status: int
) -> None:
    asked = begun(browser)
    endpoint.answer = answer
    assert browser.get(RETURN, params={"code": "c", "state": asked["state"]}).status_code == status


@pytest.mark.slow
def test_what_the_console_believes_the_api_does_not(browser: httpx.Client, endpoint: Endpoint) -> None:
    """Neither the ID token, nor the token of the session, nor what is in the cookies."""
    asked = begun(browser)
    theirs = id_token(asked["nonce"])
    endpoint.answer = {"id_token": theirs}
    sealed = [*browser.cookies.values()]
    browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    own = session_token(browser)
    for text in (theirs, own, own.removeprefix("sgs_"), *sealed, *browser.cookies.values()):
        answer = httpx.get(f"{browser.base_url}/v1/approvals", headers={"authorization": f"Bearer {text}"})
        assert answer.status_code == 401


def test_cookies_of_one_kind_are_nothing_as_another(browser: httpx.Client, endpoint: Endpoint) -> None:
    asked = begun(browser)
    (attempt,) = browser.cookies.jar
    browser.cookies.set(attempt.name.replace("sign-in-", ""), attempt.value, path="/console")
    assert browser.get("/console").status_code == 303
    endpoint.answer = {"id_token": id_token(asked["nonce"])}
    browser.cookies.clear()
    browser.cookies.set(attempt.name, Sessions().sealing("signed in").encrypt(b"{}").decode(), path="/console")
    assert "was not begun" in refused(browser, code="c", state=asked["state"])


def test_a_session_ends_with_its_token_where_there_is_no_refresh_token(
    browser: httpx.Client, endpoint: Endpoint, now: list[float]
) -> None:
    asked = begun(browser)
    endpoint.answer = {"id_token": id_token(asked["nonce"])}
    browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    now[0] = NOW + 599.0
    assert browser.get("/console").status_code == 200
    now[0] = NOW + 600.0
    assert browser.get("/console").headers["location"] == "/console/sign-in?next=%2Fconsole"
    assert len(endpoint.sent) == 1


def renewable(browser: httpx.Client, endpoint: Endpoint, now: list[float], refresh: str = "r-1") -> None:
    """Signed in, and the ID token over."""
    asked = begun(browser)
    endpoint.answer = {"id_token": id_token(asked["nonce"]), "refresh_token": refresh}
    browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    endpoint.sent.clear()
    now[0] = NOW + 600.0


def test_a_form_that_is_sent_after_the_token_is_over_is_not_lost(
    browser: httpx.Client, endpoint: Endpoint, now: list[float]
) -> None:
    asked = begun(browser)
    endpoint.answer = {"id_token": id_token(asked["nonce"]), "refresh_token": "r-1"}
    browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    (csrf,) = set(re.findall(r'name="csrf" value="([^"]+)"', browser.get("/console").text))
    now[0] = NOW + 600.0
    endpoint.answer = {"id_token": id_token(None, exp=NOW + 1200), "refresh_token": "r-2"}
    sent = browser.post("/console/sign-out", data={"csrf": csrf})
    assert sent.status_code == 303
    assert endpoint.sent[-1]["refresh_token"] == "r-1"


def test_a_refresh_token_takes_the_place_of_the_one_before(
    browser: httpx.Client, endpoint: Endpoint, now: list[float]
) -> None:
    renewable(browser, endpoint, now)
    endpoint.answer = {"id_token": id_token(None, exp=NOW + 1200), "refresh_token": "r-2"}
    assert browser.get("/console").status_code == 200
    assert [each["refresh_token"] for each in endpoint.sent] == ["r-1"]
    now[0] = NOW + 1200.0
    endpoint.answer = {"id_token": id_token(None, exp=NOW + 1800)}
    assert browser.get("/console").status_code == 200
    now[0] = NOW + 1800.0
    endpoint.answer = {"id_token": id_token(None, exp=NOW + 2400)}
    assert browser.get("/console").status_code == 200
    assert [each["refresh_token"] for each in endpoint.sent] == ["r-1", "r-2", "r-2"], "none came in its place"


@pytest.mark.parametrize(
    "answer",
    [
        {"id_token": id_token(None, exp=NOW + 1200, sub="somebody else")},
        {"id_token": id_token(None, exp=NOW + 1200, aud="portal")},
        {"access_token": "t"},
        ProviderError("revoked", 400),
        ProviderError("down"),
    ],
)
def test_a_session_that_the_provider_does_not_renew_is_over(
    browser: httpx.Client, endpoint: Endpoint, now: list[float], answer: dict[str, Any] | Exception
) -> None:
    renewable(browser, endpoint, now)
    endpoint.answer = answer
    for _ in range(3):
        assert browser.get("/console").status_code == 303
    assert len(endpoint.sent) == 1, "it is not asked with every request"


@pytest.mark.parametrize(("length", "kept"), [(1_800, True), (1_801, False), (20_000, False)])
def test_a_refresh_token_that_fits_no_cookie_is_left_out(
    browser: httpx.Client, endpoint: Endpoint, now: list[float], length: int, kept: bool
) -> None:
    renewable(browser, endpoint, now, refresh=secrets.token_hex(length)[:length])
    endpoint.answer = {"id_token": id_token(None, exp=NOW + 1200)}
    assert (browser.get("/console").status_code == 200) is kept


def test_a_change_of_the_operators_file_ends_sessions(browser: httpx.Client, endpoint: Endpoint) -> None:
    asked = begun(browser)
    endpoint.answer = {"id_token": id_token(asked["nonce"], realm_access={"roles": ["staff"]})}
    browser.get(RETURN, params={"code": "c", "state": asked["state"]})
    own = session_token(browser)
    (same,) = sign_on_ways(callers(sign_in=SIGN_IN), Sessions())
    assert (found := same.caller(own)) is not None
    assert found.principal["roles"] == ["employee"]
    (other,) = sign_on_ways(callers(sign_in=SIGN_IN, roles=None), Sessions())
    assert other.caller(own) is None


def session_token(browser: httpx.Client) -> str:
    """What the session's cookie holds, which only a server of the home can open."""
    (sealed,) = (each.value for each in browser.cookies.jar if "sign-in" not in each.name)
    assert sealed
    packed = Sessions().sealing("session").decrypt(sealed + "=" * (-len(sealed) % 4))
    return json.loads(zlib.decompress(packed))["token"]


def flow_of(made: OidcCallers) -> CodeFlow:
    (issuer,) = made.settings.issuers
    assert issuer.sign_in
    return CodeFlow(made.settings, issuer, issuer.sign_in, made.providers[ISSUER], lambda: NOW)


async def finished(flow: CodeFlow, answer: dict[str, str]) -> SignedIn:
    attempt, _ = await flow.begin("/console")
    return await flow.finish(attempt, answer | {"state": attempt.state})


@pytest.mark.parametrize(
    ("methods", "login", "body"),
    [
        (["client_secret_basic"], ("console", "a+b%2F%25"), set()),
        (["client_secret_post"], None, {("client_id", "console"), ("client_secret", "a b/%")}),
    ],
)
async def test_how_a_confidential_client_says_who_it_is(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, methods: list[str], login: Any, body: set[tuple[str, str]]
) -> None:
    monkeypatch.setenv("ACME_SECRET", "a b/%")
    published = Published()
    published.metadata["token_endpoint_auth_methods_supported"] = methods
    flow = flow_of(callers(published, sign_in=SIGN_IN | {"client_secret_env": "ACME_SECRET"}))
    with pytest.raises(RefusedTokenError):
        await finished(flow, {"code": "c"})
    (sent,) = endpoint.sent
    assert sent["login"] == login
    assert {(name, value) for name, value in sent.items() if name in ("client_id", "client_secret")} == body
