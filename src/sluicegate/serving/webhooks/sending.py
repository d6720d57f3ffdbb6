"""One attempt to send a message: bounded in time and size, to the address that was checked, and to no other.

An operator names the receivers, but a name may be pointed elsewhere, at what only this machine can reach. So a name is
resolved here, its addresses are checked, and the connection goes to the one that was checked; the certificate must be
the name's. Nothing follows a redirect, no proxy is asked, and of an answer only its status and its headers are read.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from socket import SOCK_STREAM
from typing import Any

import httpx

from sluicegate.serving.webhooks.config import Destination, is_loopback

__all__ = ["ATTEMPT_S", "Answer", "send"]

ATTEMPT_S = 15.0
_TRIED = 3
"""Addresses of one name that are tried."""
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for IPv4 ones (RFC 6052)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt."""

    status: int = 0
    """0 where there was no answer."""
    failure: str = ""
    """Why it has failed, without address and secrets; empty when it has not."""
    retry_after_s: float = 0.0
    """How long the receiver asks to be left alone."""

    @property
    def gone(self) -> bool:
        """The receiver wants nothing any more."""
        return self.status == 410


async def send(
    to: Destination,
    body: bytes,
    headers: Mapping[str, str],
    *,
    now: Callable[[], float],
) -> Answer:
    """Never raises for what a receiver does or does not do."""
    try:
        async with asyncio.timeout(ATTEMPT_S):
            return await _sent(to, body, headers, now)
    except TimeoutError:
        return Answer(failure=f"no answer within {ATTEMPT_S:g} s")
    except (httpx.HTTPError, OSError, ValueError) as error:
        return Answer(failure=_why(error))


async def _sent(to: Destination, body: bytes, headers: Mapping[str, str], now: Callable[[], float]) -> Answer:
    url = httpx.URL(to.url)
    addresses = await _addresses(url, private=to.config.private)
    if not addresses:
        return Answer(failure="its address is in a private network, and `private` does not allow that")
    named = {"content-type": "application/json", "user-agent": "sluicegate", "host": url.netloc.decode(), **headers}
    extensions: dict[str, Any] = {"sni_hostname": url.host}
    async with httpx.AsyncClient(verify=_trusted(), trust_env=False, timeout=ATTEMPT_S) as client:
        for number, address in enumerate(addresses[:_TRIED], start=1):
            request = client.build_request(
                "POST", url.copy_with(host=address), content=body, headers=named, extensions=extensions
            )
            try:
                response = await client.send(request, stream=True)
            except httpx.ConnectError:
                if number == len(addresses[:_TRIED]):
                    raise
                continue
            await response.aclose()
            return _read(response, now())
    return Answer(failure="no answer")


def _read(response: httpx.Response, now: float) -> Answer:
    if response.is_success:
        return Answer(response.status_code)
    moved = ", which is not followed" if response.is_redirect else ""
    waits = _seconds(response.headers.get("retry-after", ""), now)
    return Answer(response.status_code, f"HTTP {response.status_code}{moved}", waits)


def _seconds(said: str, now: float) -> float:
    """`Retry-After`: seconds, or a time (RFC 9110, 10.2.3)."""
    said = said.strip()[:64]
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)


async def _addresses(url: httpx.URL, *, private: bool) -> list[str]:
    """Those that may be connected to."""
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    # that it is this machine stands in the file: nobody has pointed a name here
    allowed = private or is_loopback(url.host)
    return [each for each in addresses if allowed or _is_public(each)]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return _is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _why(error: Exception) -> str:
    """Not in the error's words: they may have the address."""
    if isinstance(error, httpx.ConnectError):
        inner = error.__cause__ or error
        while inner.__cause__ and not isinstance(inner, ssl.SSLError):
            inner = inner.__cause__
        return "its certificate is not valid" if isinstance(inner, ssl.SSLCertVerificationError) else "no connection"
    if isinstance(error, OSError):
        return "its name cannot be resolved"
    return f"no proper answer ({type(error).__name__})"


@cache
def _trusted() -> ssl.SSLContext:
    """The system's authorities, or those of `SSL_CERT_FILE`."""
    return ssl.create_default_context()
