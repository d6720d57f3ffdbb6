"""One fixed user, for local trials."""

from dataclasses import dataclass

from sluicegate.serving.http.callers.caller import Caller, Callers, Headers
from sluicegate.state import Principal

__all__ = ["FixedCaller"]


@dataclass(frozen=True, slots=True)
class FixedCaller(Callers):
    """Every caller is this user: for local trials, on a server that answers to the names of the loopback address."""

    principal: Principal
    by_token = False

    def of(self, headers: Headers) -> Caller:
        del headers
        return Caller(self.principal, "")
