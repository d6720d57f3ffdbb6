"""Approvals over HTTP, with the workflow's real services behind and stand-ins for the models only."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sluicegate import Service
from tests.support.stand import NoShadow, served
from tests.support.ticketing import REQUEST, ticket_desk

EXTRACTED = {"title": "Printer on floor 2 is jammed"}
LEAD = {"x-user": "lea", "x-roles": "lead"}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    desk = ticket_desk(tmp_path / "desk", monkeypatch, extracted=EXTRACTED)
    with served(Service(desk, beside=NoShadow)) as client:  # type: ignore[arg-type]
        yield client


@pytest.mark.slow
def test_an_edit_changes_what_the_tool_is_called_with(client: httpx.Client) -> None:
    run = client.post("/v1/runs", json={"text": REQUEST}).json()["run"]
    address = f"/v1/approvals/{run}"
    shown = client.get(address, headers=LEAD).json()
    assert (shown["edits"], shown["proposal"]) == ("arguments", {"tool": "create_ticket", "arguments": EXTRACTED})
    assert "asked because `intent.risk == 'high'`" in shown["reason"]
    words = client.post(address, json={"verdict": "edit", "text": "Ask your manager."}, headers=LEAD)
    assert (words.status_code, words.json()["code"]) == (422, "SG626")
    assert "reject" in words.json()["hint"]
    for body in (
        {"verdict": "edit", "arguments": {"category": "carpentry"}},
        {"verdict": "edit", "arguments": {}},
        {"verdict": "approve", "arguments": {"details": "x"}},
    ):
        assert client.post(address, json=body, headers=LEAD).status_code == 422
    body = {"verdict": "edit", "arguments": {"details": "Ask for Bob.", "category": "hardware"}}
    done = client.post(address, json=body, headers=LEAD).json()
    after = {**EXTRACTED, "details": "Ask for Bob.", "category": "hardware"}
    assert (done["status"], done["answer"]) == ("answered", "Ticket T-00001 is open.")
    assert done["edited"] == {"before": EXTRACTED, "after": after}
    (decided,) = [each for each in client.get(f"/v1/runs/{run}/trail").json()["decisions"] if each["node"] == "approve"]
    assert decided["values"]["extraction.fields"] == after
