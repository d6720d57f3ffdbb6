"""The shipped helpdesk on stand-in models: a session on it, and a run as production records it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.session.session import Session
from sluicegate.services import Services
from tests.support.fakes import (
    FakeCache,
    FakeConfidence,
    FakeGuards,
    FakeModels,
    FakePrompts,
    FakeRetriever,
    FakeRouter,
)

HELPDESK = Path("configs/helpdesk/workflow.yaml")

TICKET = {"title": "reset it", "category": "hardware", "urgency": "normal"}

ANSWERED = ["classify", "gate", "recall", "facts", "answer", "check", "respond"]


def fakes(label: str = "password_reset", confidence: float = 0.9, **more: Any) -> Callable[[Services], Services]:
    """The helpdesk without models: its graph, conditions, policies and tools are the real ones."""
    fake: dict[str, Any] = {
        "router": FakeRouter(label, confidence),
        "models": FakeModels(parsed={"sentences": [1]}),
        "retriever": FakeRetriever(),
        "guards": FakeGuards(),
        "cache": FakeCache(),
        "prompts": FakePrompts(),
        "confidence": FakeConfidence(0.9, threshold=0.6),
        **more,
    }
    return lambda services: replace(services, **fake)


def start(**more: Any) -> Session:
    return Session.start(HELPDESK, "How do I reset it?", as_="ann", change=fakes(**more))


def way(session: Session) -> list[str]:
    return [entry["node"] for entry in session.trail]


async def production(label: str = "password_reset", **more: Any) -> tuple[Outcome, Any]:
    """A run that was not made for stepping."""
    opened = open_workflow(HELPDESK, change=fakes(label, **more))
    return await opened.runner.run("How do I reset it?", principal("ann", ["employee"])), opened


def list_tickets(home: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(home.rglob("*ticket*")) if file.is_file()]
