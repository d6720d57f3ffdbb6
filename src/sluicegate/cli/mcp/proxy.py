"""`sluicegate mcp proxy`: a firewall before the tools of other MCP servers."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.callers import As, Oidc, Role, Tokens, callers_of
from sluicegate.cli._support.console import console, notes
from sluicegate.errors import RunError

if TYPE_CHECKING:
    from sluicegate.serving.firewall.config import FirewallFile

__all__ = ["proxy"]


def proxy(
    config: Annotated[Path, typer.Argument(help="The firewall's file.")],
    user: As = "",
    role: Role = None,
    check: Annotated[bool, typer.Option("--check", help="Check the file and prove its guarantees, then exit.")] = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="Pin what the servers offer now, show what has changed, then exit.")
    ] = False,
    http: Annotated[
        bool,
        typer.Option("--http", help="Serve over streamable HTTP, at /mcp; otherwise over standard input and output."),
    ] = False,
    host: Annotated[str, typer.Option(help="With --http: address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --http: port; 0 picks a free one.")] = 8080,
    tokens: Tokens = None,
    oidc: Oidc = None,
) -> None:
    """Put policies, budgets, approvals and the audit log before the tools of other MCP servers."""
    import asyncio

    from sluicegate.extras import extra
    from sluicegate.graphs.runtime.intake import principal

    with extra("mcp", "the firewall", partial(RunError, "SG624")):
        from sluicegate.serving.firewall.config import read_firewall
        from sluicegate.serving.firewall.firewall import Firewall
        from sluicegate.serving.firewall.server import serve_stdio
    if pin:
        asyncio.run(_pin(read_firewall(config, pinned=False)))
        return
    if check:
        from sluicegate.graphs.config import check as checking
        from sluicegate.serving.firewall.workflow import load_workflow

        workflow = load_workflow(read_firewall(config))
        console().print(checking.as_text(checking.check(workflow.path)), soft_wrap=True)
        return
    if http:
        from sluicegate.serving.firewall.http import serve_http

        def started(address: str) -> None:
            notes().print(f"{config}: MCP at {address}/mcp", markup=False, soft_wrap=True)

        callers = callers_of(host, tokens, "", "", "", user, role, oidc=oidc)
        serve_http(Firewall(config), callers, host=host, port=port, started=started)
    elif not user:
        raise RunError("SG619", "for whom the client calls is missing", hint="Name them: --as NAME --role ROLE")
    else:
        asyncio.run(serve_stdio(Firewall(config), principal(user, role or ["employee"])))
    # everything is closed and on disk; a tool hanging in a thread would keep the process alive
    os._exit(0)


async def _pin(file: "FirewallFile") -> None:
    from sluicegate.nodes.tools.mcp import servers
    from sluicegate.policies.guards.set import GuardSet
    from sluicegate.serving.firewall.pins import Contract, faults, read_pins, texts_of, write_pins
    from sluicegate.serving.firewall.upstream import Upstreams

    before, listed, screen = read_pins(file.pins_file), servers(), console()
    upstreams = Upstreams({name: listed[name] for name in file.config.servers}, most=5_000_000)
    guards, now = GuardSet(file.config.guards), dict[str, dict[str, Contract]]()
    try:
        for server in file.config.servers:
            now[server] = dict(await (await upstreams.of(server, "")).tools())
            for tool, what in faults(before.get(server, {}), now[server]):
                screen.print(f"{server}: {tool} {what}", markup=False, soft_wrap=True)
            for tool, contract in now[server].items():
                for text in texts_of(contract):
                    report = await guards.check(["injection"], text, stage="retrieved")
                    if not all(result["passed"] for result in report.results):
                        what = f"{server}: {tool} has words that steer a model: {text}"
                        screen.print(what, style="red", markup=False, soft_wrap=True)
    finally:
        await upstreams.close()
    write_pins(file.pins_file, {server: tools.values() for server, tools in now.items()})
    screen.print(f"pinned {sum(map(len, now.values()))} tools in {file.pins_file}", markup=False, soft_wrap=True)
