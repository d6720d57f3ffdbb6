"""Who calls, and what every way to find that out has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, get_args

from pydantic import BaseModel, ConfigDict

from sluicegate.errors import RunError
from sluicegate.state import Clearance, Principal

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

__all__ = ["Caller", "Callers", "Claims", "Headers", "Named", "bearer"]


class Headers(Protocol):
    """A request's headers; names in any case."""

    def getlist(self, key: str) -> list[str]: ...


class Named(BaseModel):
    """A person, as a token or an application's call names them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    roles: list[str] = []
    groups: list[str] = []
    clearance: Clearance = "internal"

    def principal(self) -> Principal:
        return cast("Principal", self.model_dump())


class Claims(BaseModel):
    """What an application may say of the people it acts for; a clearance up to its own."""

    model_config = ConfigDict(extra="forbid")

    roles: list[str] = []
    groups: list[str] = []


@dataclass(frozen=True, slots=True)
class Caller:
    principal: Principal
    name: str
    """Of the token; empty for the other ways."""
    claims: Claims | None = None
    """What this caller, an application, may say of the users it acts for; None: it may name none."""

    def acting_for(self, named: Named | None) -> Principal:
        """The requester: the caller, or whom the call names. Raises `RunError` SG610 for more than it may claim."""
        if named is None:
            return self.principal
        if self.claims is None:
            raise RunError(
                "SG610",
                "this token may not name a principal",
                hint="Omit `principal`: the token identifies the requester",
            )
        ranks, own = get_args(Clearance), self.principal["clearance"]
        claimed = {
            "role": [role for role in named.roles if role not in self.claims.roles],
            "group": [group for group in named.groups if group not in self.claims.groups],
            "clearance": [named.clearance] if ranks.index(named.clearance) > ranks.index(own) else [],
        }
        for what, excess in claimed.items():
            if excess:
                raise RunError(
                    "SG610",
                    f"this token may not claim the {what} {excess[0]!r} for a principal",
                    hint="Ask the operator: sluicegate token add --on-behalf has --claim-role, --claim-group and "
                    "--clearance",
                )
        return named.principal()


class Callers(Protocol):
    """One way to find out who calls."""

    challenge: str = "Bearer"
    """For the header WWW-Authenticate of who is not signed in."""
    by_token: bool = True
    """Whether somebody can sign in to the console by a token that they type in."""
    routes: "Sequence[BaseRoute]" = ()
    """What it answers itself, for whoever asks."""

    def of(self, headers: Headers) -> Caller:
        """Raises `RunError` SG619. Only reads and computes, whoever asks from the event loop; see `ready`."""
        ...

    async def ready(self, headers: Headers) -> None:
        """Fetch what `of` needs for these headers and does not have: awaited before each request."""


def bearer(headers: Headers) -> str:
    """The token of a call. Raises `RunError` SG619 when there is none, or more than one."""
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        raise RunError("SG619", "a token is required", hint="Send: Authorization: Bearer TOKEN")
    return token.strip()
