"""How often people may ask: refused at acceptance with a time to come back, on every face, over all servers."""

import asyncio
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from sluicegate import Service
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.limits import Busy
from sluicegate.storage.postgres import URL
from tests.support import stand
from tests.support.mcp_clients import over_http, words
from tests.support.openai_clients import sdk

ANN, EVE, LEAD = principal("ann", ["employee"]), principal("eve", ["employee"]), principal("lea", ["helpdesk-lead"])
LIMITS = "limits: {principals: {default: 2 per hour, helpdesk-lead: 4 per hour, auditor: 1 per hour}}\n"


def limited(folder: Path, limits: str = LIMITS) -> Service:
    return stand.service(stand.written(folder / "workflow.yaml", text=stand.TEXT + limits))


async def allowed(service: Service, who: object, many: int) -> int:
    """How many of so many requests at a time are let in."""
    made = await asyncio.gather(*(service.ask("How?", who) for _ in range(many)), return_exceptions=True)  # type: ignore[arg-type]
    refused = [each for each in made if isinstance(each, Busy)]
    assert {each.code for each in refused} <= {"SG730"}
    assert len(refused) == many - sum(getattr(each, "status", "") == "answered" for each in made)
    return many - len(refused)


@pytest.mark.slow
async def test_each_person_has_the_rate_of_their_role(each_place: str, tmp_path: Path) -> None:
    async with limited(tmp_path) as service:
        assert await allowed(service, ANN, 5) == 2
        assert await allowed(service, EVE, 1) == 1
        both = principal("lea", ["auditor", "helpdesk-lead"])
        assert await allowed(service, both, 6) == 4, "of several roles the one that allows the most"
        with pytest.raises(Busy, match="ann may ask 2 per hour") as caught:
            await service.ask("How?", ANN)
        assert caught.value.theirs
        assert 1790 < caught.value.retry_after_s <= 1800
        assert service.rates.refused == 6


@pytest.mark.slow
async def test_a_retry_a_decision_and_an_answer_are_no_new_requests(each_place: str, tmp_path: Path) -> None:
    async with limited(tmp_path, "limits: {principals: {default: 1 per day}}\n") as service:
        waits = await service.ask("access please", ANN, request_id="one")
        assert waits.waiting
        assert (await service.ask("access please", ANN, request_id="one")).run == waits.run
        assert (await service.decide(waits.run, "approve", LEAD)).status == "answered"
        with pytest.raises(Busy):
            await service.ask("How?", ANN)
        assert await allowed(service, LEAD, 2) == 1


@pytest.mark.slow
async def test_every_face_says_when_to_come_back(tmp_path: Path) -> None:
    service = limited(tmp_path, "limits: {principals: {default: 1 per hour}}\n")
    with stand.served(service) as client, sdk(client) as ai:
        assert client.post("/v1/runs", json={"text": "How?"}).status_code == 200
        native = client.post("/v1/runs", json={"text": "How?"})
        assert (native.status_code, native.json()["code"]) == (429, "SG730")
        assert 3590 < int(native.headers["retry-after"]) <= 3600
        assert native.json()["hint"] == f"Retry in {native.headers['retry-after']} s"
        name = service.name
        with pytest.raises(openai.RateLimitError) as chat:
            ai.chat.completions.create(model=name, messages=[{"role": "user", "content": "How?"}])
        with pytest.raises(openai.RateLimitError) as response:
            ai.responses.create(model=name, input="How?")
        for raised in (chat, response):
            assert raised.value.code == "rate_limit_exceeded"
            assert 3590 < int(raised.value.response.headers["retry-after"]) <= 3600
        async with over_http(client) as tools:
            (tool, *_) = (await tools.list_tools()).tools
            result = await tools.call_tool(tool.name, {"text": "How?"})
            assert result.is_error
            assert "SG730: ann may ask 1 per hour. Retry in 3" in words(result)
        assert client.post("/v1/runs", json={"text": "How?"}, headers={"x-user": "ben"}).status_code == 200
        metrics = client.get("/metrics", headers={"x-roles": "operator"}).text
        assert f'sluicegate_rate_refusals_total{{workflow="{name}"}} 4.0' in metrics


SEVEN = "limits: {principals: {default: 7 per day}}\n"
ONE_SERVER = """
import asyncio, os, sys
from pathlib import Path
from sluicegate.graphs.runtime.intake import principal
from tests.serving.test_rates import SEVEN, allowed, limited
async def ask():
    async with limited(Path(sys.argv[1]), SEVEN) as service:
        print("ready", flush=True)
        sys.stdin.readline()
        print(await allowed(service, principal("ann", ["employee"]), 8), flush=True)
asyncio.run(ask())
os._exit(0)
"""


@pytest.mark.slow
async def test_two_servers_at_once_let_in_what_one_may(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, postgres)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home-b"))
    command = [sys.executable, "-c", ONE_SERVER, str(tmp_path / "b")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home-a"))
        try:
            async with limited(tmp_path / "a", SEVEN) as service:
                assert await asyncio.to_thread(other.stdout.readline) == "ready\n"
                other.stdin.write("\n")
                other.stdin.flush()
                here = await allowed(service, ANN, 8)
                there, _ = await asyncio.to_thread(other.communicate, timeout=60)
        finally:
            other.kill()
    assert here + int(there) == 7
