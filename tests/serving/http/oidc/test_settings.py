"""The file of providers, and who their people are to the policies."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluicegate.cli._support.callers import callers_of
from sluicegate.errors import ConfigError, RunError
from sluicegate.serving.http.callers import Claims, Named, TokenFile
from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
from sluicegate.serving.http.callers.oidc.settings import Issuer, SignIn, read_settings
from tests.support import ROOT, stand
from tests.support.made_tokens import ISSUER, SETTINGS, THEIRS, bearing, callers, claims, token

ONE = SETTINGS["issuers"][0]


def written(folder: Path, content: Any) -> Path:
    path = folder / "oidc.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("issuers", "said"),
    [
        ([ONE | {"algorithms": ["none"]}], "RS256"),
        ([ONE | {"algorithms": ["HS256"]}], "RS256"),
        ([ONE | {"algorithms": []}], "at least 1 item"),
        ([ONE | {"issuer": "http://login.example.org"}], "https://"),
        ([ONE | {"issuer": "https://user@login.example.org"}], "no user"),
        ([ONE | {"issuer": "https://login.example.org/?realm=a"}], "no query"),
        ([ONE | {"issuer": "login.example.org"}], "https://"),
        ([ONE | {"audiences": []}], "audiences"),
        ([ONE | {"sign_in": {"name": "A", "client_id": "sluicegate"}}], "pass for access tokens"),
        ([ONE | {"sign_in": {"name": "A", "client_id": "console", "scopes": ["email"]}}], "openid"),
        ([ONE | {"id": "everybody"}], "names no claim"),
        ([ONE | {"id": "{sub"}], "names no claim"),
        ([ONE | {"id": "{sub}}"}], "brace"),
        ([ONE | {"leeway_s": 3600}], "less than or equal to 300"),
        ([ONE | {"audience": ["sluicegate"]}], "audiences"),
        ([ONE | {"clearance": {"claim": "level", "map": {"c": "secret"}}}], "confidential"),
        ([], "at least 1 item"),
        ([ONE, ONE | {"issuer": "https://other.example"}], "a beginning of its own"),
        ([ONE | {"id": "a:{sub}"}, ONE | {"issuer": "https://o.example", "id": "a:b:{sub}"}], "a beginning of its own"),
        ([ONE | {"id": "a:{sub}"}, ONE | {"id": "b:{sub}"}], "twice"),
    ],
)
def test_what_a_file_may_not_say(issuers: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read_settings(written(tmp_path, SETTINGS | {"issuers": issuers}))


@pytest.mark.parametrize("address", ["http://sluicegate.example.org", "https://example.org/app", "sluicegate", ""])
def test_the_address_is_one_that_browsers_can_use_and_nothing_more(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_settings(written(tmp_path, SETTINGS | {"address": address}))


def test_a_file_that_is_not_there_or_that_others_may_write_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file not found"):
        read_settings(tmp_path / "none.yaml")
    path = written(tmp_path, SETTINGS)
    path.chmod(0o666)
    with pytest.raises(RunError) as raised:
        read_settings(path)
    assert raised.value.code == "SG623"


async def found(said: dict[str, Any], **issuer: Any) -> Any:
    asked = callers(**issuer)
    headers = bearing(token(claims(**said)))
    await asked.ready(headers)
    return asked.of(headers)


async def test_names_of_the_company_become_those_of_the_policies_and_the_rest_nothing() -> None:
    said = {
        "realm_access": {"roles": ["desk", "offline_access", "admin"]},
        "https://acme.example/groups": ["/finance", "/board"],
        "level": ["c", "r", "x"],
    }
    assert (await found(said)).principal == {
        "id": "u-1", "roles": ["employee", "helpdesk-lead"], "groups": ["finance"], "clearance": "restricted",
    }  # fmt: skip


@pytest.mark.parametrize(
    "odd", [{}, {"realm_access": []}, {"realm_access": {"roles": {"desk": 1}}}, {"realm_access": {"roles": [["desk"]]}}]
)
async def test_claims_of_another_form_give_nothing(odd: dict[str, Any]) -> None:
    assert (await found(odd)).principal == {"id": "u-1", "roles": [], "groups": [], "clearance": "public"}


async def test_without_a_clearance_in_the_file_everybody_has_that_of_tokens() -> None:
    assert (await found({}, clearance=None)).principal["clearance"] == Named(id="x").clearance


async def test_an_id_is_composed_of_claims_that_can_be_trusted() -> None:
    assert (await found({"tid": "t1"}, id="acme:{tid}:{sub}")).principal["id"] == "acme:t1:u-1"
    mail = {"email": "ann@acme.example"}
    assert (await found(mail | {"email_verified": True}, id="{email}")).principal["id"] == "ann@acme.example"
    for said in (mail, mail | {"email_verified": "true"}, mail | {"email_verified": False}, {"email_verified": True}):
        with pytest.raises(RunError) as raised:
            await found(said, id="{email}")
        assert raised.value.code == "SG619"
    for odd in ("an\nn", "an\u202en", " ann", "", 5, "x" * 400):
        with pytest.raises(RunError):
            await found({"upn": odd}, id="{upn}")


@pytest.mark.parametrize("allowed", [{"scope": "openid ask"}, {"scp": ["ask"]}, {"scp": "ask"}])
async def test_scopes_that_a_token_must_have(allowed: dict[str, Any]) -> None:
    assert (await found(allowed, scopes=["ask"])).principal["id"] == "u-1"
    for lacking in ({}, {"scope": "ask.more"}, {"scope": ["ask.more"]}, {"scope": 5}):
        with pytest.raises(RunError, match="lacks the scope ask") as raised:
            await found(lacking, scopes=["ask"])
        assert raised.value.code == "SG610"


async def test_a_provider_that_does_not_type_its_access_tokens() -> None:
    asked = callers(token_type="JWT")
    for typ in ("JWT", None, "at+jwt"):
        headers = bearing(token(typ=typ))
        await asked.ready(headers)
        assert asked.of(headers).principal["id"] == "u-1"
    for other in ({"nonce": "n"}, {"at_hash": "h"}, {"typ": "ID"}, {"typ": "Refresh"}, {"events": {}}):
        with pytest.raises(RunError):
            asked.of(bearing(token(claims(**other), typ="JWT")))


async def test_an_application_that_is_listed_acts_for_people_and_a_person_through_it_does_not() -> None:
    listed = {"app-1": {"roles": ["employee"], "groups": []}}
    portal = await found({"sub": "app-1"}, applications=listed)
    assert portal.claims == Claims(roles=["employee"])
    assert portal.acting_for(Named(id="ann", roles=["employee"], clearance="public"))["id"] == "ann"
    with pytest.raises(RunError):
        portal.acting_for(Named(id="ann", roles=["auditor"], clearance="public"))
    for person in ({"azp": "app-1"}, {"client_id": "app-1"}, {"act": {"sub": "app-1"}}):
        assert (await found(person, applications=listed)).claims is None


async def test_a_token_file_beside_it(tmp_path: Path) -> None:
    """Each kind is asked of its own place only."""
    file = TokenFile(tmp_path / "tokens.json")
    ann = file.add("ann", Named(id="ann"))
    both = callers(tokens=file)
    for text, person in ((ann, "ann"), (token(), "u-1")):
        await both.ready(bearing(text))
        assert both.of(bearing(text)).principal["id"] == person
    assert file.revoke("ann")
    for text in (ann, ann + ".x.y", token(key=THEIRS), "other"):
        with pytest.raises(RunError) as raised:
            both.of(bearing(text))
        assert raised.value.code == "SG619"


def test_a_secret_that_is_not_there_is_missed_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = {"name": "Acme", "client_id": "console", "client_secret_env": "ACME_SECRET"}
    oidc = written(tmp_path, SETTINGS | {"issuers": [ONE | {"sign_in": console}]})
    with pytest.raises(RunError, match="ACME_SECRET is not set"):
        callers_of("::", None, "", "", "", "", None, oidc=oidc)
    monkeypatch.setenv("ACME_SECRET", "s")
    assert isinstance(callers_of("::", None, "", "", "", "", None, oidc=oidc), OidcCallers)


def test_the_file_of_the_docs(tmp_path: Path) -> None:
    """It is taken, and its tables name every key there is."""
    page = (ROOT / "docs" / "sign-on.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (issuer,) = read_settings(written(tmp_path, example)).issuers
    assert issuer.sign_in
    named = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(Issuer.model_fields)
    assert all(f"`{name}`" in page for name in SignIn.model_fields)


def test_what_stands_beside_what(tmp_path: Path) -> None:
    oidc = written(tmp_path, SETTINGS)
    tokens = tmp_path / "tokens.json"
    TokenFile(tokens).add("ann", Named(id="ann"))
    assert isinstance(callers_of("::", tokens, "", "", "", "", None, oidc=oidc), OidcCallers)
    assert isinstance(callers_of("::", None, "", "", "", "", None, oidc=oidc), OidcCallers)
    assert isinstance(callers_of("::", tokens, "", "", "", "", None), TokenFile)
    for header, user in (("X-User", ""), ("", "ann")):
        with pytest.raises(RunError, match="choose exactly one") as raised:
            callers_of("127.0.0.1", None, header, "", "", user, None, oidc=oidc)
        assert raised.value.code == "SG619"


@pytest.mark.slow
def test_clients_are_told_whose_tokens_are_taken() -> None:
    """RFC 9728, as clients of MCP look for it."""
    with stand.served(callers=callers(scopes=["ask"])) as client:
        refused = client.get("/v1/approvals")
        assert refused.status_code == 401
        challenge = refused.headers["www-authenticate"]
        assert challenge == (
            'Bearer resource_metadata="https://sluicegate.example.org/.well-known/oauth-protected-resource"'
        )
        assert client.get("/.well-known/oauth-protected-resource").json() == {
            "resource": "https://sluicegate.example.org",
            "authorization_servers": [ISSUER],
            "scopes_supported": ["ask"],
            "bearer_methods_supported": ["header"],
        }
        allowed = {"authorization": f"Bearer {token(claims(scope='ask'))}"}
        assert client.get("/v1/approvals", headers=allowed).status_code == 200
        assert client.get("/v1/approvals", headers={"authorization": f"Bearer {token()}"}).status_code == 403
    with stand.served() as client:
        assert client.get("/.well-known/oauth-protected-resource").status_code == 404
