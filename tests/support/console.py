"""A server whose runs wait for people, and the console as a plain HTTP client meets it."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.home import home
from sluicegate.services import ToolResult
from sluicegate.state import DocumentRef
from tests.support.fakes import FakeGuards, FakeModels, FakeRetriever, FakeTools
from tests.support.stand import version

__all__ = ["LEAD", "SAME", "Desk", "ask", "csrf", "decided", "form", "send"]

LEAD = {"x-user": "lea", "x-roles": "helpdesk-lead"}
SAME = {"sec-fetch-site": "same-origin"}
"""What a browser says of a form that one of the server's own pages sends."""


@dataclass
class Desk:
    """How a workflow is opened here: every answer fails a check, and so waits for a person; "access" calls a tool, and
    waits with what it gave."""

    draft: str = "Reset it in the portal [1]."
    title: str = "Passwords"
    passage: str = "Reset it in the portal."
    result: str = "T-1"
    forbidden: frozenset[str] = frozenset()

    def __call__(self, source: Path | Workflow) -> Opened:
        opened = version(source)
        opened.runner.services = replace(
            opened.runner.services,
            models=FakeModels({"slm": self.draft, "llm": self.draft}),
            retriever=_Titled(texts={"h1": self.passage}, forbidden=self.forbidden, title=self.title),
            guards=FakeGuards({"grounded": "human"}),
            tools=FakeTools(result=ToolResult("done", {"id": self.result})),
        )
        return opened


@dataclass
class _Titled(FakeRetriever):
    title: str = ""

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        return [{**each, "title": self.title} for each in await super().search(index, query, principal, k=k)]


def ask(client: httpx.Client, text: str = "How do I reset it?", who: str = "ann") -> str:
    """The run of a request that waits for a person."""
    said = client.post("/v1/runs", json={"text": text}, headers={"x-user": who}).json()
    assert said["status"] == "waiting", said
    return said["run"]


def csrf(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def form(client: httpx.Client, run: str, headers: Mapping[str, str] = LEAD) -> dict[str, str]:
    """The hidden fields of the page of a waiting run."""
    page = client.get(f"/console/approvals/{run}", headers=headers)
    assert page.status_code == 200, page.text
    asked = re.search(r'name="asked_at" value="([^"]+)"', page.text)
    assert asked
    return {"csrf": csrf(page), "asked_at": asked[1]}


def send(
    client: httpx.Client, run: str, fields: Mapping[str, str], headers: Mapping[str, str] = LEAD, to: str = ""
) -> httpx.Response:
    return client.post(f"/console/approvals/{run}{to}", data=dict(fields), headers={**SAME, **headers})


def decided(run: str = "") -> list[str]:
    """The verdicts that were written down in this home, of one run or of all."""
    with sqlite3.connect(home() / "approvals.sqlite") as connection:
        rows = connection.execute("SELECT verdict ->> 'verdict' FROM decisions WHERE run = ?1 OR ?1 = ''", (run,))
        return [verdict for (verdict,) in rows]
