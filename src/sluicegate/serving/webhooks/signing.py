"""Signatures by the Standard Webhooks specification 1.0.0 (standardwebhooks.com), symmetric: `v1,` and the HMAC-SHA-256
of id, time and body, joined by full stops, in base64. During a rotation there is one for each secret."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256

__all__ = ["headers", "key_of", "new_secret"]

_PREFIX = "whsec_"
_LEAST, _MOST = 24, 64
"""Bytes of a secret, as the specification has them."""


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises `ValueError` for what is none."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if not _LEAST <= len(key) <= _MOST:
        raise ValueError(f"not {_LEAST} to {_MOST} bytes in base64")
    return key


def headers(id: str, at: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of a message that is sent at this Unix time; without keys it is not signed."""
    found = {"webhook-id": id, "webhook-timestamp": str(at)}
    signed = b".".join((id.encode(), str(at).encode(), body))
    marks = [base64.b64encode(hmac.new(key, signed, sha256).digest()).decode() for key in keys]
    return found | ({"webhook-signature": " ".join(f"v1,{mark}" for mark in marks)} if marks else {})
