"""The options that say who may call a server, of every command that listens."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.errors import RunError
from sluicegate.extras import extra

if TYPE_CHECKING:
    from sluicegate.serving.http.callers import Callers

__all__ = ["As", "Oidc", "Role", "Tokens", "TrustGroups", "TrustHeader", "TrustRoles", "callers_of"]

Tokens = Annotated[Path | None, typer.Option(help="Token file of the allowed callers, made by `sluicegate token add`.")]
Oidc = Annotated[
    Path | None, typer.Option(help="File of the OpenID providers whose tokens sign in; may stand beside --tokens.")
]
TrustHeader = Annotated[
    str, typer.Option(help="Trust this header as the caller's identity. Only behind a gateway that sets it.")
]
TrustRoles = Annotated[str, typer.Option(help="Header with the caller's roles, comma-separated.")]
TrustGroups = Annotated[str, typer.Option(help="Header with the caller's groups, comma-separated.")]
As = Annotated[str, typer.Option("--as", help="Treat every caller as this user (loopback only).")]
Role = Annotated[list[str] | None, typer.Option(help="Role of that user (repeatable).")]


def callers_of(
    host: str,
    tokens: Path | None,
    header: str,
    roles: str,
    groups: str,
    user: str,
    role: list[str] | None,
    *,
    oidc: Path | None = None,
) -> "Callers":
    """The way that the options choose.

    Raises `RunError` SG619, SG623 for a file that is not to be trusted, and `ConfigError` for what `--oidc` names.
    """
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.serving.http.callers import FixedCaller, TokenFile, TrustedHeader

    if sum((tokens is not None or oidc is not None, bool(header), bool(user))) != 1:
        raise RunError(
            "SG619",
            "choose exactly one of --tokens and --oidc (one or both), --trust-header, --as",
            hint="Use --tokens FILE, --oidc FILE or both, --trust-header NAME behind a gateway, or --as NAME on your "
            "own machine",
        )
    file = TokenFile(tokens) if tokens else None
    if file:
        file.tokens()
    if oidc:
        with extra("serve", "sign-on with OpenID", partial(RunError, "SG624")):
            from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
        from sluicegate.serving.http.callers.oidc.settings import read_settings

        settings = read_settings(oidc)
        for name in (each.sign_in.client_secret_env for each in settings.issuers if each.sign_in):
            if name and not os.environ.get(name):
                raise RunError("SG619", f"{name} is not set", hint=f"{oidc} names it for the secret of the console")
        return OidcCallers(settings, file)
    if file:
        return file
    if header:
        return TrustedHeader(header, roles, groups)
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise RunError("SG619", f"--as would treat everyone who can reach {host} as {user}", hint="Use --tokens FILE")
    return FixedCaller(principal(user, role or ["employee"]))
