"""Who the subject of a verified token is to the policies."""

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from sluicegate.serving.http.callers.caller import Named
from sluicegate.serving.http.callers.oidc.settings import ClaimPath, Issuer, Names
from sluicegate.serving.http.callers.oidc.verification import RefusedTokenError
from sluicegate.state import Clearance

__all__ = ["named"]

_MAX_ID = 300


def named(claims: Mapping[str, Any], issuer: Issuer) -> Named:
    """Raises `RefusedTokenError` when the claims that make the id are not there."""
    return Named(
        id=_id(claims, issuer),
        roles=_mapped(claims, issuer.roles),
        groups=_mapped(claims, issuer.groups),
        clearance=_clearance(claims, issuer),
    )


def _id(claims: Mapping[str, Any], issuer: Issuer) -> str:
    parts = {name: _at(claims, name) for name in issuer.claims_of_id}
    if "email" in parts and claims.get("email_verified") is not True:
        raise RefusedTokenError("email not verified", "your email address is not verified at the provider")
    if missing := [name for name, value in parts.items() if not isinstance(value, str) or not value]:
        raise RefusedTokenError(f"{missing[0]} missing", f"the token lacks the claim {missing[0]}")
    found = re.sub(r"{([^{}]+)}", lambda name: parts[name[1]], issuer.id)
    if len(found) > _MAX_ID or not found.isprintable() or found != found.strip():
        raise RefusedTokenError("its id is no name")
    return found


def _mapped(claims: Mapping[str, Any], names: Names | None) -> list[str]:
    """In the order of the map, each once."""
    if names is None:
        return []
    has = _texts(claims, names.claim)
    to = [each if isinstance(each, tuple) else (each,) for name, each in names.map.items() if name in has]
    return list(dict.fromkeys(one for each in to for one in each))


def _clearance(claims: Mapping[str, Any], issuer: Issuer) -> Clearance:
    if issuer.clearance is None:
        return Named.model_fields["clearance"].default
    has = _texts(claims, issuer.clearance.claim)
    ranks: tuple[Clearance, ...] = get_args(Clearance)
    mapped = [ranks.index(to) for name, to in issuer.clearance.map.items() if name in has]
    return ranks[max(mapped, default=0)]


def _texts(claims: Mapping[str, Any], path: ClaimPath) -> set[str]:
    found = _at(claims, path)
    listed = cast("list[Any]", found) if isinstance(found, list) else [found]
    return {each for each in listed if isinstance(each, str)}


def _at(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    found: Any = claims
    for step in path.split(".") if isinstance(path, str) else path:
        found = cast("dict[str, Any]", found).get(step) if isinstance(found, dict) else None
    return found
