"""A state as it comes to a step that writes, and the passages in it."""

from typing import Any

from sluicegate.graphs.runtime.intake import principal, request
from sluicegate.services import Services
from sluicegate.state import DocumentRef, State

TEXTS = {"h1": "Open the portal. Choose Forgot password. It takes five minutes.", "h2": "Call 4357 when it fails."}


def document(number: int) -> DocumentRef:
    return {
        "id": f"kb-{number}", "version": "1", "title": f"Title {number}", "source": "s", "score": 0.9, "span": [0, 9],
        "hash": f"h{number}",
    }  # fmt: skip


def state(given: Services, **more: Any) -> State:
    visits = more.pop("visits", {})
    base: State = {
        "request": request("How do I reset it?", channel="t", id="r", received_at=given.now()),
        "principal": principal("ann"),
        "run": {
            "id": "r",
            "workflow": "w",
            "version": "1",
            "digest": "d",
            "started_at": "",
            "status": "running",
            "visits": visits,
            "shadow": False,
        },
        "documents": [document(1), document(2)],
    }
    return {**base, **more}  # type: ignore[typeddict-item]
