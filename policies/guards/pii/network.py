"""Addresses of machines and of what they serve: IP, hardware, URL."""

import ipaddress
import re
from collections.abc import Iterator

__all__ = ["TOP_LEVEL", "ip_addresses", "mac_addresses", "urls"]

_Span = tuple[int, int]

_IPV4 = re.compile(
    r"(?<![\w.-])(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d"
    r"|[1-9]?\d)(?:/\d{1,2})?(?![\w-]|\.\d)",
    re.ASCII,
)
_VERSION = re.compile(
    r"(?i)(?:\b(?:v|ver|version|release|build|firmware|kernel|section|chapter|clause|article|paragraph|abschnitt|kapitel)|§)"
    r"\.?\s?$"
)
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:{1,2}){2,7}[0-9A-Fa-f]{0,4}(?:%\w+)?(?:/\d{1,3})?(?![\w:])"
    r"|(?<![\w:.])::ffff:(?:\d{1,3}\.){3}\d{1,3}(?![\w:]|\.\d)"
    r"|(?<![\w:.])::(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4}(?:/\d{1,3})?(?![\w:.])",
    re.ASCII | re.IGNORECASE,
)
_MAC = re.compile(
    r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])"
    r"|\b[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}\b",
    re.ASCII,
)


def ip_addresses(text: str) -> Iterator[_Span]:
    """Where addresses of IPv4 and IPv6 stand that belong to one machine."""
    if "::" in text or text.count(":") >= 5:
        for found in _IPV6.finditer(text):
            start, end = found.span()
            try:
                address = ipaddress.IPv6Interface(re.sub(r"%\w+", "", text[start:end]))
            except ValueError:
                continue
            if not _is_nobodys(address, text[:start]):
                yield start, end
    # one that is written as a part of an IPv6 address has been found with it
    for found in _IPV4.finditer(text):
        start, end = found.span()
        address = ipaddress.IPv4Interface(text[start:end]) if _prefix_fits(text[start:end]) else None
        if address and not _VERSION.search(text[max(0, start - 12) : start]) and not _is_nobodys(address, text[:start]):
            yield start, end


_RESOLVERS = frozenset(
    re.findall(r"[\d.]+", "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220")
)
"""Public name servers, which everybody uses."""
_NETWORK = re.compile(r"(?i)\b(?:(?:sub)?net ?mask|mask|subnet|cidr|network|broadcast|wildcard)\W{0,3}(?:is )?$")


def _prefix_fits(written: str) -> bool:
    return int(written.partition("/")[2] or 0) <= 32


def _is_nobodys(address: ipaddress.IPv4Interface | ipaddress.IPv6Interface, before: str) -> bool:
    """A net, a mask, or an address that everybody has: of no one machine."""
    number = int(address.ip)
    rest = ~number & 0xFFFFFFFF
    is_mask = address.version == 4 and number >= 0xFF000000 and rest & (rest + 1) == 0
    is_net = address.network.prefixlen < address.max_prefixlen and address.ip == address.network.network_address
    return (
        is_mask
        or is_net
        or address.ip.is_loopback
        or address.ip.is_unspecified
        or str(address.ip) in _RESOLVERS
        or bool(_NETWORK.search(before[-30:]))
    )


def mac_addresses(text: str) -> Iterator[_Span]:
    """Where hardware addresses stand."""
    return (found.span() for found in _MAC.finditer(text))


_DOMAINS = (
    "com|org|net|edu|gov|mil|int|io|co|ai|app|dev|info|biz|eu|uk|us|ca|de|fr|it|es|nl|be|ch|at|se|no|dk"
    "|fi|pl|cz|sk|hu|ro|bg|gr"
    "|pt|ie|br|mx|ar|cl|au|nz|jp|cn|kr|in|ru|ua|tr|il|za|cy|ee|lv|lt|si|hr|is|online|site|shop|cloud|tech|xyz|me|tv"
)
TOP_LEVEL = frozenset(_DOMAINS.split("|"))
"""Domains in wide use; words of other kinds end in a dot and the letters of the rest."""
_URL = re.compile(
    r"(?i)\b(?:https?|ftps?|wss?)://[^\s<>\"'`()\[\]{}|\\^]+(?:\([^\s()]*\)[^\s<>\"'`()]*)?"
    rf"|(?<![\w@.-])www\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>\"'`()]*)?"
    rf"|(?<![\w@./-])(?:[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?\.)+(?:{_DOMAINS})(?![\w@-]"
    rf"|\.\w)(?:/[^\s<>\"'`()]*)?"
)


def urls(text: str) -> Iterator[_Span]:
    """Where URLs stand, and names of hosts under a top-level domain that is in wide use."""
    if "." not in text and "://" not in text:
        return
    for found in _URL.finditer(text):
        start, end = found.span()
        if "@sha256:" not in text[start:end]:  # a container's image
            yield start, start + len(text[start:end].rstrip(".,;:!?"))
