"""The file of `--oidc`: which providers are believed, and what their claims mean to the policies."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sluicegate.errors import ConfigError, RunError
from sluicegate.graphs.config.source import read
from sluicegate.graphs.config.validate import Faults, validated
from sluicegate.home import distrust
from sluicegate.serving.http.callers.caller import Claims
from sluicegate.state import Clearance

__all__ = ["ClaimPath", "Issuer", "OidcSettings", "SignIn", "is_loopback", "read_settings", "safe_url"]

Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
"""Asymmetric ones: with a shared secret whoever can check a token can make one."""

ClaimPath: TypeAlias = str | tuple[str, ...]
"""Where a claim lies: names with dots between them, or a list of names, for those that have dots."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def safe_url(url: str) -> str:
    """The same. Raises `ValueError` where it is not one of https, or of http on the loopback address."""
    found = urlsplit(url)
    if found.scheme != "https" and not (found.scheme == "http" and is_loopback(url)):
        raise ValueError("must begin with https:// (http:// only on the loopback address)")
    if not found.hostname or found.username is not None or found.fragment or re.search(r"[^\x21-\x7e]", url):
        raise ValueError("must be a plain address: no user, no fragment, no spaces")
    return url


def _origin(url: str) -> str:
    found = urlsplit(safe_url(url))
    if found.path not in ("", "/") or found.query:
        raise ValueError("must be the scheme, the host and the port only")
    return url.rstrip("/")


def _issuer(url: str) -> str:
    if urlsplit(safe_url(url)).query:
        raise ValueError("must have no query")
    return url


class Names(_Strict):
    """Names of the company's that lie in a claim, and what each is to the policies."""

    claim: ClaimPath
    map: dict[str, str | tuple[str, ...]] = {}
    """What is not listed becomes nothing."""


class Clearances(_Strict):
    claim: ClaimPath
    map: dict[str, Clearance] = {}
    """The highest of those that a token has; `public` where it has none."""


class SignIn(_Strict):
    """How the console signs people in: by authorization code with PKCE."""

    name: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9 -]{0,39}$")
    """Of the provider, for the button of the sign-in page; the redirect URI ends with it."""
    client_id: str = Field(min_length=1)
    client_secret_env: str = ""
    """Environment variable with the client's secret; empty for a public client."""
    scopes: tuple[str, ...] = ("openid",)

    @property
    def slug(self) -> str:
        return self.name.lower().replace(" ", "-")

    @model_validator(mode="after")
    def _asks_for_an_id_token(self) -> "SignIn":
        if "openid" not in self.scopes:
            raise ValueError("`scopes` must have openid: without it there is no ID token")
        return self


class Issuer(_Strict):
    issuer: Annotated[str, AfterValidator(_issuer)]
    """Exactly as the provider's metadata and its tokens have it."""
    audiences: tuple[str, ...] = ()
    """What the provider calls this server; one of them is in each access token. Empty: none is believed, only
    the console signs in."""
    algorithms: tuple[Algorithm, ...] = Field(("RS256", "PS256", "ES256"), min_length=1)
    token_type: Literal["at+jwt", "JWT"] = "at+jwt"  # noqa: S105 - no secret
    """The `typ` of its access tokens: RFC 9068's, or `JWT` for a provider that does not say what is an access token."""
    leeway_s: int = Field(60, ge=0, le=300)
    """How far its clock and ours may be apart."""
    scopes: tuple[str, ...] = ()
    """What an access token must be allowed, all of it."""
    id: str = Field("{sub}", min_length=3)
    """Who a person is to the policies, of claims in braces: `{sub}`, `acme:{sub}`, `{email}` (a verified one only)."""
    roles: Names | None = None
    groups: Names | None = None
    clearance: Clearances | None = None
    """Without it everybody has `internal`."""
    applications: dict[str, Claims] = {}
    """By their `sub`: those that act for people, and what they may say of them."""
    sign_in: SignIn | None = None

    @model_validator(mode="after")
    def _is_of_use(self) -> "Issuer":
        if not self.audiences and not self.sign_in:
            raise ValueError("needs `audiences`, for calls with access tokens, or `sign_in`, for the console")
        if self.sign_in and self.sign_in.client_id in self.audiences:
            raise ValueError("the `client_id` of `sign_in` is no audience: its ID tokens would pass for access tokens")
        if not self.claims_of_id:
            raise ValueError("`id` names no claim, so everybody would be the same person; the usual one is '{sub}'")
        if re.sub(r"{[^{}]+}", "", self.id).strip("{}") != re.sub(r"{[^{}]+}", "", self.id):
            raise ValueError("`id` has a brace without its other one")
        return self

    @property
    def claims_of_id(self) -> list[str]:
        return re.findall(r"{([^{}]+)}", self.id)

    @property
    def prefix(self) -> str:
        """What every id begins with."""
        return self.id.partition("{")[0]


class OidcSettings(_Strict):
    address: Annotated[str, AfterValidator(_origin)]
    """How callers and browsers reach this server: scheme, host and port."""
    issuers: tuple[Issuer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _keeps_people_apart(self) -> "OidcSettings":
        names = [each.issuer for each in self.issuers]
        if len(set(names)) < len(names):
            raise ValueError("an issuer is listed twice")
        slugs = [each.sign_in.slug for each in self.issuers if each.sign_in]
        if len(set(slugs)) < len(slugs):
            raise ValueError("each `sign_in` needs a `name` of its own")
        prefixes = sorted(each.prefix for each in self.issuers)
        if any(after.startswith(before) for before, after in pairwise(prefixes)):
            raise ValueError(
                "with several issuers each `id` needs a beginning of its own, such as 'acme:{sub}': what one calls a "
                "person another may call somebody else"
            )
        return self

    def redirect_uri(self, issuer: Issuer) -> str:
        """Where its browsers come back to. One for each issuer: what one sends is never taken for another's answer."""
        return f"{self.address}/console/sign-in/return/{issuer.sign_in.slug if issuer.sign_in else ''}"

    def of(self, issuer: Any) -> Issuer | None:
        return next((each for each in self.issuers if each.issuer == issuer), None)


def read_settings(path: Path) -> OidcSettings:
    """Raises `ConfigError` with every problem of the file, and `RunError` SG623 when others may write to it."""
    source = read(path)
    if not source.unread and (why := distrust(path.stat())):
        raise RunError("SG623", f"the issuers of {path}: {why}", hint=f"chmod 644 {path}, or chown it")
    faults = Faults(source)
    faults.problems += source.problems
    found = None if source.data is None else validated(OidcSettings, source.data, (), faults)
    if found is None or faults.problems:
        raise ConfigError(faults.problems)
    return found
