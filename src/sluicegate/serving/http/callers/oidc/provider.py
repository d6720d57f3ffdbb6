"""A provider's metadata and keys: fetched by discovery, kept for a bounded time, fetched again when its keys change.

Keys are fetched again every ten minutes, in the background, and once more for a key that is not known; never twice
within `FLOOR_S`, whatever tokens are made up. When the provider does not answer, the keys that are there serve on for
an hour: about as long as its tokens live, so that nobody is signed out by an outage, and a key that was withdrawn does
not outlast it.
"""

import asyncio
import functools
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, cast

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry
from joserfc.util import base64_to_int
from pydantic import AfterValidator, BaseModel, ValidationError

from sluicegate.errors import RunError
from sluicegate.serving.http.callers.oidc.settings import is_loopback, safe_url

__all__ = ["FLOOR_S", "FRESH_S", "MAX_BYTES", "STALE_S", "IdentityProvider", "Metadata", "ProviderError", "fetch"]

FRESH_S = 600.0
STALE_S = 3600.0
FLOOR_S = 30.0
TIMEOUT_S = 10.0
"""Of one fetch, from its first byte to its last."""
MAX_BYTES = 512_000
MAX_KEYS = 100

log = logging.getLogger(__name__)

_ENDPOINTS = {"jwks_uri", "authorization_endpoint", "token_endpoint", "end_session_endpoint"}
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What a public key of each type is made of."""

Fetch = Callable[..., Awaitable[dict[str, Any]]]


class ProviderError(RunError):
    """A provider that cannot be reached, or answers what cannot be used (SG660)."""

    def __init__(self, message: str, status: int = 0) -> None:
        """`status`: what it answered with, where it did."""
        super().__init__("SG660", message, hint="Check the issuer with `sluicegate doctor --oidc FILE`")
        self.status = status


class Metadata(BaseModel):
    """What is used of a provider's metadata (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: Annotated[str, AfterValidator(safe_url)]
    authorization_endpoint: Annotated[str, AfterValidator(safe_url)] | None = None
    token_endpoint: Annotated[str, AfterValidator(safe_url)] | None = None
    end_session_endpoint: Annotated[str, AfterValidator(safe_url)] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


@functools.cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()


async def fetch(
    url: str, *, form: Mapping[str, str] | None = None, login: tuple[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object at an address, or what it answers to a form; bounded in size and time, redirects not followed.

    Raises `ProviderError`, which quotes nothing of the answer.
    """
    # what the environment says of proxies and authorities is for addresses that are not on this machine
    outside = not is_loopback(url)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(
                verify=await asyncio.to_thread(_trusted), trust_env=outside, timeout=TIMEOUT_S, headers=headers
            ) as client,
            client.stream("GET" if form is None else "POST", url, data=form, auth=login) as response,
        ):
            if response.status_code != 200:
                raise ProviderError(f"{url} answered with status {response.status_code}", response.status_code)
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_BYTES:
                    raise ProviderError(f"{url} answered with more than {MAX_BYTES:,} bytes")
        answer = json.loads(body)
    except TimeoutError:
        raise ProviderError(f"{url} did not answer within {TIMEOUT_S:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ProviderError(f"{url} cannot be reached: {type(error).__name__}") from error
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"{url} did not answer with JSON") from error
    if not isinstance(answer, dict):
        raise ProviderError(f"{url} did not answer with a JSON object")
    return cast("dict[str, Any]", answer)


class IdentityProvider:
    """One issuer. Used from one event loop; the keys are read without waiting."""

    def __init__(self, issuer: str, *, fetching: Fetch = fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._fetch, self._clock = fetching, clock
        self._metadata: Metadata | None = None
        self._keys: dict[str, list[Any]] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether it has answered lately enough for its keys to be believed."""
        return self._clock() - self._fetched <= STALE_S

    def keys(self, kid: str | None) -> list[Any]:
        """The keys of this id; without one the only key there is, since guessing among several is no choice."""
        if not self.reachable:
            return []
        if kid is None:
            every = [key for keys in self._keys.values() for key in keys]
            return every if len(every) == 1 else []
        return self._keys.get(kid, [])

    async def ready(self, kid: str | None) -> None:
        """Fetch the keys if this one is not known or they are too old, and wait for that; see to it that they stay
        fresh. Whether it could be had, `keys` says."""
        if not self.keys(kid):
            await self._again()
        elif self._clock() - self._fetched > FRESH_S:
            self._started()

    async def metadata(self) -> Metadata:
        """Raises `ProviderError`."""
        if self._metadata is None or not self.reachable:
            await self._again()
        if self._metadata is None or not self.reachable:
            raise ProviderError(f"{self.issuer} does not answer")
        return self._metadata

    async def check(self) -> tuple[Metadata, int]:
        """Its metadata and how many of its keys can be used, as they are now. Raises `ProviderError`."""
        metadata, keys = await self._discovered()
        return metadata, sum(map(len, keys.values()))

    async def _again(self) -> None:
        if task := self._started():
            # who gives up waiting ends nothing: others wait for the same
            await asyncio.shield(task)

    def _started(self) -> "asyncio.Task[None] | None":
        """The fetch that is under way, or a new one; None when the last one began too short a time ago."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if self._clock() - self._tried < FLOOR_S:
            return None
        self._tried = self._clock()
        self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    async def _refresh(self) -> None:
        try:
            self._metadata, self._keys = await self._discovered()
            self._fetched = self._clock()
        except ProviderError as error:
            log.warning("%s", error.message)

    async def _discovered(self) -> tuple[Metadata, dict[str, list[Any]]]:
        where = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            metadata = Metadata.model_validate(await self._fetch(where))
        except ValidationError as error:
            wrong = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
            raise ProviderError(f"the metadata at {where} cannot be used: {wrong}") from None
        if metadata.issuer != self.issuer:
            raise ProviderError(f"the metadata at {where} is of another issuer")
        endpoints = metadata.model_dump(include=_ENDPOINTS, exclude_none=True).values()
        if not is_loopback(self.issuer) and any(is_loopback(each) for each in endpoints):
            raise ProviderError(f"the metadata at {where} points to this machine")
        return metadata, _usable(await self._fetch(metadata.jwks_uri))


def _usable(found: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The public keys of a set that signatures can be checked with, by their ids; what else is in it is left out."""
    usable: dict[str, list[Any]] = {}
    listed = found.get("keys")
    for each in cast("list[Any]", listed)[:MAX_KEYS] if isinstance(listed, list) else []:
        if not isinstance(each, dict):
            continue
        data = cast("dict[str, Any]", each)
        public = {name: data[name] for name in _PUBLIC.get(str(data.get("kty")), ()) if name in data}
        if data.get("use", "sig") != "sig" or not public or "verify" not in data.get("key_ops", ["verify"]):
            continue
        # only what a public key has: a set that shows a private or a shared key makes nobody use it
        about = {name: data[name] for name in ("kid", "alg", "use") if isinstance(data.get(name), str)}
        try:
            if data["kty"] == "RSA" and not 2048 <= base64_to_int(data["n"]).bit_length() <= 8192:
                continue
            key = JWKRegistry.import_key({**public, **about, "kty": data["kty"]})
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        usable.setdefault(about.get("kid", ""), []).append(key)
    return usable
