"""The firewall over HTTP, for clients with tokens of an OpenID provider."""

from pathlib import Path

import httpx
import pytest

from sluicegate.serving.firewall.firewall import Firewall
from sluicegate.serving.firewall.http import firewall_app
from tests.support.firewalls import FIND, PAY, firewall_at
from tests.support.made_tokens import ISSUER, NOW, Published, callers, claims, token
from tests.support.mcp_upstream import Upstream

pytestmark = pytest.mark.slow

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"accept": "application/json, text/event-stream"}


async def test_clients_find_the_provider_and_come_with_its_tokens(tmp_path: Path) -> None:
    firewall = Firewall(
        await firewall_at(tmp_path / "wall", upstreams={"desk": Upstream(tmp_path / "desk", FIND, PAY)})
    )
    published = Published()
    app = firewall_app(firewall, callers(published, scopes=["ask"]))

    async def asked(text: str) -> httpx.Response:
        return await http.post("/mcp", json=PING, headers={"authorization": f"Bearer {text}", **ACCEPT})

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http,
    ):
        refused = await http.post("/mcp", json=PING)
        (_, where) = refused.headers["www-authenticate"].split("resource_metadata=")
        found = await http.get(where.strip('"').removeprefix("https://sluicegate.example.org"))
        assert found.json()["authorization_servers"] == [ISSUER]
        assert (await asked(token(claims(scope="ask")))).status_code == 200
        assert len(published.fetched) == 2, "the keys were fetched for it"
        assert (await asked(token())).status_code == 403
        assert (await asked(token(claims(scope="ask", exp=NOW - 61)))).status_code == 401
