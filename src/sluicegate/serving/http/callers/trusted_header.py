"""The user that a gateway in front sets in a header."""

from dataclasses import dataclass

from sluicegate.errors import RunError
from sluicegate.serving.http.callers.caller import Caller, Callers, Headers, Named

__all__ = ["TrustedHeader"]


@dataclass(frozen=True, slots=True)
class TrustedHeader(Callers):
    """The user that a gateway sets in its headers. Only for a server that is reachable only through that gateway."""

    user: str
    roles: str = ""
    """Header of the roles, comma-separated; empty when the gateway names none."""
    groups: str = ""
    by_token = False

    def of(self, headers: Headers) -> Caller:
        name = self._one(headers, self.user).strip()
        if not name:
            raise RunError("SG619", "the gateway sent no user", hint=f"It must set {self.user}")
        roles, groups = (
            [each.strip() for each in self._one(headers, header).split(",") if each.strip()] if header else []
            for header in (self.roles, self.groups)
        )
        return Caller(Named(id=name, roles=roles, groups=groups).principal(), "")

    def _one(self, headers: Headers, header: str) -> str:
        found = headers.getlist(header)
        if len(found) > 1:
            # one is the gateway's, but the other could be the client's
            raise RunError(
                "SG619", f"duplicate header {header}", hint=f"Configure the gateway to strip client-supplied {header}"
            )
        return found[0] if found else ""
